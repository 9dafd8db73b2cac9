"""The platform's own Python client on our sandbox. Where they disagree, the sandbox is wrong."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import run_clc

SDK = "clc-sdk==2.51"  # its last release, of 2022
A, B, C = "WA1ALIASWB01", "WA1ALIASWB02", "VA1ALIASWB01"
ARCHIVED, STOPPED, UNKNOWN = "WA1ALIASOLD01", "VA1ALIASJOB03", "WA1ALIASXX99"
REFUSAL = (
    "do we pass on this or take action? The operation cannot be queued because the server cannot "
    "be found or it is not in a valid state."
)
BEFORE = """
import json, os, clc
from clc import v2
clc.defaults.ENDPOINT_URL_V2 = os.environ["CLC_BASE_URL"]
v2.SetCredentials(os.environ["CLC_USERNAME"], os.environ["CLC_PASSWORD"])
def refusal(call, *arguments):
    try:
        call(*arguments)
    except Exception as error:
        return [type(error).__name__, str(error)]
"""
AFTER = "print(json.dumps(answer))"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Python of an environment that holds the client and nothing of ours."""
    folder = tmp_path_factory.mktemp("clc-sdk")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    installed = subprocess.run(
        [folder / "bin" / "pip", "install", "-q", SDK], capture_output=True, check=False, text=True
    )
    if installed.returncode:
        why = (installed.stderr.strip() or "pip says nothing").splitlines()[-1]
        pytest.skip(f"needs {SDK}, which can't be installed: {why}")
    return str(Path(folder, "bin", "python"))


def ask(python: str, script: str, *options: str) -> Any:
    """Run a script of the client's beside a sandbox, and return what it sets `answer` to."""
    lines = f"{BEFORE}\n{script}\n{AFTER}"
    result = run_clc("sandbox", "--duration", "200ms", *options, python, "-c", lines)
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


def test_it_logs_in_and_learns_the_account_and_its_location(python: str) -> None:
    script = "answer = [v2.Account.GetAlias(), v2.Account.GetLocation()]"
    assert ask(python, script) == ["ALIAS", "WA1"]


def test_it_logs_in_with_a_form_where_it_opens_a_session(python: str) -> None:
    script = f"""
session = v2.get_session("demo", "demo")
answer = [session["alias"], session["location"], str(v2.Server({A!r}, session=session))]
"""
    assert ask(python, script) == ["ALIAS", "WA1", A]


@pytest.mark.parametrize("log_in", ["v2.API._Login", 'v2.get_session, "demo", "wrong"'])
def test_it_is_told_that_the_password_is_wrong(python: str, log_in: str) -> None:
    script = f'v2.SetCredentials("demo", "wrong"); answer = refusal({log_in})'
    kind, message = ask(python, script)
    assert kind == "Exception"
    assert message.startswith("Invalid V2 API login. ")
    assert message.endswith(
        " We didn't recognize the username or password you entered. Please try again."
    )


def test_it_is_told_that_its_token_has_expired(python: str) -> None:
    script = f"answer = refusal(v2.Server, {A!r})"
    assert ask(python, script, "--expired-token") == ["CLCException", "HTTP error: 401"]


def test_it_reads_every_attribute_of_a_server_that_it_documents(python: str) -> None:
    script = f"""
server = v2.Server({A!r})
answer = {{name: getattr(server, name) for name in '''
    id description cpu power_state memory storage group_id is_template location_id name os os_type
    status type storage_type in_maintenance_mode created_by created_date modified_by modified_date
    custom_fields partitions alert_policies ip_addresses
'''.split()}}
"""
    server = ask(python, script)
    assert (server["name"], server["location_id"], server["status"]) == (A, "WA1", "active")
    assert server["description"] == "Web WB01"
    assert (server["cpu"], server["memory"], server["power_state"]) == (2, 4, "started")
    assert server["created_date"] <= server["modified_date"]


def test_it_sees_that_a_server_is_archived_and_another_does_not_exist(python: str) -> None:
    script = f"answer = [v2.Server({ARCHIVED!r}).status, refusal(v2.Server, {UNKNOWN!r})]"
    assert ask(python, script) == ["archived", ["CLCException", "Server does not exist"]]


def test_it_finds_the_data_centres_their_groups_and_their_servers(python: str) -> None:
    script = """
def below(group):
    return {"type": group.type, "servers": group.Servers().servers_lst,
            "groups": {str(child): below(child) for child in group.Subgroups().groups}}
roots = [datacenter.RootGroup() for datacenter in v2.Datacenter.Datacenters()]
answer = {str(root): below(root) for root in roots}
"""
    roots = ask(python, script)
    assert set(roots) == {"WA1 Hardware", "VA1 Hardware"}
    groups = roots["WA1 Hardware"]["groups"]
    assert groups["Default Group"]["servers"] == []
    assert groups["Web"]["servers"] == [A, B, "WA1ALIASWB03"]
    retired = groups["Database"]["groups"]["Retired"]
    assert (retired["type"], retired["servers"]) == ("archive", [ARCHIVED])


def test_it_reads_the_group_of_a_server(python: str) -> None:
    script = f"""
group = v2.Server({A!r}).Group()
answer = [str(group), group.type, group.status, group.servers_count, group.created_by]
"""
    assert ask(python, script) == ["Web", "default", "active", 3, "demo"]


def test_it_follows_the_links_to_the_account_the_credentials_and_the_templates(
    python: str,
) -> None:
    script = f"""
account = v2.Account()
templates = account.PrimaryDatacenter().Templates().templates
answer = [account.business_name, account.status, v2.Server({A!r}).Credentials(),
          [str(template) for template in templates]]
"""
    credentials = {"userName": "root", "password": "demo"}
    assert ask(python, script) == ["Sandbox", "Active", credentials, ["DEBIAN-7-64-TEMPLATE"]]


def test_it_resets_a_server_and_waits_for_it(python: str) -> None:
    script = f"""
requests = v2.Server({A!r}).Reset()
ids = [request.id for request in requests.requests]
failed = requests.WaitUntilComplete(poll_freq=0.02)
answer = [ids, failed, str(requests.success_requests[0].Server())]
"""
    assert ask(python, script) == [["wa1-12345"], 0, A]


def test_it_resets_a_batch_that_shares_one_operation_a_data_centre(python: str) -> None:
    script = f"""
requests = v2.Servers({[A, B, C]}).Reset()
answer = [sorted([request.context_val, request.id] for request in requests.requests),
          requests.WaitUntilComplete(poll_freq=0.02), len(requests.success_requests)]
"""
    operations, failed, succeeded = ask(python, script)
    assert operations == [
        ["va1aliaswb01", "va1-12346"],
        ["wa1aliaswb01", "wa1-12345"],
        ["wa1aliaswb02", "wa1-12345"],
    ]
    assert (failed, succeeded) == (0, 3)


def test_it_resets_a_group(python: str) -> None:
    script = """
requests = v2.Datacenter("WA1").Groups().Get("Web").Reset()
answer = [requests.WaitUntilComplete(poll_freq=0.02), len(requests.success_requests)]
"""
    assert ask(python, script) == [0, 3]


def test_it_counts_an_operation_that_failed(python: str) -> None:
    script = f"answer = v2.Servers({[A, B, C]}).Reset().WaitUntilComplete(poll_freq=0.02)"
    assert ask(python, script, "--fail", B) == 2


@pytest.mark.parametrize("server", [STOPPED, ARCHIVED, UNKNOWN])
def test_it_knows_the_words_of_a_refusal(python: str, server: str) -> None:
    script = f"answer = refusal(v2.Servers({[server]}).Reset)"
    assert ask(python, script) == ["Exception", REFUSAL]


def test_it_sees_that_an_answer_is_lost(python: str) -> None:
    script = f"answer = refusal(v2.Server({A!r}).Reset)"
    assert ask(python, script, "--lose-answer")[0] == "ConnectionError"


def test_it_takes_resumed_for_a_failure_where_it_waits_for_one_request(python: str) -> None:
    # a defect of that client's, which shows that the sandbox goes through the recorded statuses
    script = f"answer = refusal(v2.Server({A!r}).Reset().requests[0].WaitUntilComplete, 0.02)"
    assert ask(python, script, "--duration", "3s") == [
        "CLCException",
        f"server {A.lower()} execution resumed",
    ]
