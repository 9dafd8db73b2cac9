"""The platform's own Python client on our sandbox. Where they disagree, the sandbox is wrong."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.builders import FAR, A, B
from tests.fakes import run_clc
from tests.real.conftest import Make

SDK = "clc-sdk==2.51"  # its last release, of 2022
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


@pytest.fixture(scope="module")
def python(made_once: Callable[[str, Make], Path]) -> str:
    """The Python of an environment that holds the client and nothing of ours."""

    def make(folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [str(folder / "bin" / "pip"), "install", "-q", SDK]
        installed = subprocess.run(pip, capture_output=True, check=False, text=True)
        if installed.returncode:
            why = (installed.stderr.strip() or "pip says nothing").splitlines()[-1]
            pytest.skip(f"needs {SDK}, which can't be installed: {why}")

    return str(made_once("clc-sdk", make) / "bin" / "python")


def ask(python: str, script: str, *options: str) -> Any:
    """Run a script of the client's beside a sandbox, and return what it sets `answer` to."""
    lines = f"{BEFORE}\n{script}\nprint(json.dumps(answer))"
    result = run_clc("sandbox", "--duration", "200ms", *options, python, "-c", lines)
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


READING = f"""
account, server = v2.Account(), v2.Server({A!r})
session = v2.get_session("demo", "demo")  # logs in with a form
def below(group):
    return {{"type": group.type, "servers": group.Servers().servers_lst,
            "groups": {{str(child): below(child) for child in group.Subgroups().groups}}}}
answer = dict(
    login=[v2.Account.GetAlias(), v2.Account.GetLocation()],
    session=[session["alias"], session["location"], str(v2.Server({A!r}, session=session))],
    states=[v2.Server({ARCHIVED!r}).status, refusal(v2.Server, {UNKNOWN!r})],
    group=[str(server.Group()), server.Group().status, server.Group().servers_count],
    account=[account.business_name, account.status],
    credentials=server.Credentials(),
    templates=[str(template) for template in account.PrimaryDatacenter().Templates().templates],
    groups={{str(root): below(root)
            for root in (place.RootGroup() for place in v2.Datacenter.Datacenters())}},
    server={{name: getattr(server, name) for name in '''
    id description cpu power_state memory storage group_id is_template location_id name os os_type
    status type storage_type in_maintenance_mode created_by created_date modified_by modified_date
    custom_fields partitions alert_policies ip_addresses'''.split()}},
)
"""


def test_it_reads_account_groups_servers_and_each_attribute_that_it_documents(python: str) -> None:
    answer = ask(python, READING)
    groups, server = answer.pop("groups"), answer.pop("server")
    assert answer == {
        "login": ["ALIAS", "WA1"],
        "session": ["ALIAS", "WA1", A],
        "states": ["archived", ["CLCException", "Server does not exist"]],
        "group": ["Web", "active", 3],
        "account": ["Sandbox", "Active"],
        "credentials": {"userName": "root", "password": "demo"},
        "templates": ["DEBIAN-7-64-TEMPLATE"],
    }
    assert set(groups) == {"WA1 Hardware", "VA1 Hardware"}
    below = groups["WA1 Hardware"]["groups"]
    assert below["Web"]["servers"] == [A, B, "WA1ALIASWB03"]
    retired = below["Database"]["groups"]["Retired"]
    assert (retired["type"], retired["servers"]) == ("archive", [ARCHIVED])
    assert (server["name"], server["location_id"], server["status"]) == (A, "WA1", "active")
    assert (server["cpu"], server["memory"], server["power_state"]) == (2, 4, "started")


RESETTING = f"""
def end(requests):
    operations = sorted([request.context_val, request.id] for request in requests.requests)
    return [operations, requests.WaitUntilComplete(poll_freq=0.02), len(requests.success_requests)]
answer = dict(
    one=end(v2.Server({A!r}).Reset()),
    batch=end(v2.Servers({[A, B, FAR]}).Reset()),
    group=end(v2.Datacenter("WA1").Groups().Get("Web").Reset())[1:],
    refusals=[refusal(v2.Servers([name]).Reset) for name in {[STOPPED, ARCHIVED, UNKNOWN]}],
)
"""


def test_it_resets_servers_a_batch_and_a_group_waits_and_knows_a_refusal(python: str) -> None:
    batch = [["va1aliaswb01", "va1-12347"]]
    batch += [[server.lower(), "wa1-12346"] for server in (A, B)]
    assert ask(python, RESETTING) == {
        "one": [[[A.lower(), "wa1-12345"]], 0, 1],
        "batch": [batch, 0, 3],
        "group": [0, 3],
        "refusals": [["Exception", REFUSAL]] * 3,
    }


@pytest.mark.parametrize("log_in", ["v2.API._Login", 'v2.get_session, "demo", "wrong"'])
def test_it_is_told_that_the_password_is_wrong(python: str, log_in: str) -> None:
    kind, message = ask(python, f'v2.SetCredentials("demo", "wrong"); answer = refusal({log_in})')
    assert kind == "Exception"
    assert message.startswith("Invalid V2 API login. ")
    assert "We didn't recognize the username or password you entered." in message


def test_it_sees_an_expired_token_a_failed_operation_and_a_lost_answer(python: str) -> None:
    reset = f"v2.Server({A!r}).Reset"
    script = f"answer = refusal({reset}().requests[0].WaitUntilComplete, 0.02)"
    # a defect of that client's, which shows that the sandbox goes through the recorded statuses
    assert ask(python, script, "--duration", "3s")[1] == f"server {A.lower()} execution resumed"
    script = f"answer = refusal(v2.Server, {A!r})"
    assert ask(python, script, "--expired-token") == ["CLCException", "HTTP error: 401"]
    script = f"answer = v2.Servers({[A, B, FAR]}).Reset().WaitUntilComplete(poll_freq=0.02)"
    assert ask(python, script, "--fail", B) == 2
    assert ask(python, f"answer = refusal({reset})", "--lose-answer")[0] == "ConnectionError"
