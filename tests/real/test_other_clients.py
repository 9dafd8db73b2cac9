"""The platform's own Python client on our sandbox. Where they disagree, the sandbox is wrong."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.builders import FAR, A, B
from tests.fakes import run_clc

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


def ask(python: str, expression: str, *options: str) -> Any:
    """Return what an expression comes to in the client, beside a sandbox."""
    lines = f"{BEFORE}\nprint(json.dumps({expression}))"
    result = run_clc("sandbox", "--duration", "200ms", *options, python, "-c", lines)
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


READING = f"""dict(
    login=[v2.Account.GetAlias(), v2.Account.GetLocation()],
    session=v2.get_session("demo", "demo")["alias"],  # logs in with a form
    states=[v2.Server({ARCHIVED!r}).status, refusal(v2.Server, {UNKNOWN!r})],
    groups=[str(group) for place in v2.Datacenter.Datacenters()
            for group in place.RootGroup().Subgroups().groups],
    servers=v2.Server({A!r}).Group().Servers().servers_lst,
    server=[getattr(v2.Server({A!r}), name) for name in '''
    name location_id description cpu memory power_state in_maintenance_mode status
    created_by modified_by'''.split()],
)"""


def test_it_reads_groups_and_servers(python: str) -> None:
    assert ask(python, READING) == {
        "login": ["ALIAS", "WA1"],
        "session": "ALIAS",
        "states": ["archived", ["CLCException", "Server does not exist"]],
        "groups": [
            *("Default Group", "Web", "Database", "Staging", "Archive", "Templates"),
            *("Default Group", "Web", "Batch", "Archive", "Templates"),
        ],
        "servers": [A, B, "WA1ALIASWB03"],
        "server": [A, "WA1", "Web WB01", 2, 4, "started", False, "active", "demo", "demo"],
    }


RESETTING = f"""(lambda end: dict(
    one=end(v2.Server({A!r}).Reset()),
    batch=end(v2.Servers({[A, B, FAR]}).Reset()),
    group=end(v2.Datacenter("WA1").Groups().Get("Web").Reset())[1:],
    refusals=[refusal(v2.Servers([name]).Reset) for name in {[STOPPED, ARCHIVED, UNKNOWN]}],
))(lambda requests: [
    sorted([request.context_val, request.id] for request in requests.requests),
    requests.WaitUntilComplete(poll_freq=0.02),
    len(requests.success_requests),
])"""


def test_it_resets_servers_a_batch_and_a_group_waits_and_knows_a_refusal(python: str) -> None:
    assert ask(python, RESETTING) == {
        "one": [[["wa1aliaswb01", "wa1-12345"]], 0, 1],
        "batch": [
            [
                ["va1aliaswb01", "va1-12347"],
                ["wa1aliaswb01", "wa1-12346"],
                ["wa1aliaswb02", "wa1-12346"],
            ],
            *(0, 3),
        ],
        "group": [0, 3],
        "refusals": [["Exception", REFUSAL]] * 3,
    }


def test_it_is_told_of_each_fault(python: str) -> None:
    kind, message = ask(python, 'refusal(v2.get_session, "demo", "wrong")')
    words = "We didn't recognize the username or password you entered. Please try again."
    assert (kind, message.endswith(words)) == ("Exception", True)
    look = f"refusal(v2.Server, {A!r})"
    assert ask(python, look, "--expired-token") == ["CLCException", "HTTP error: 401"]
    wait = f"v2.Servers({[A, B, FAR]}).Reset().WaitUntilComplete(poll_freq=0.02)"
    assert ask(python, wait, "--fail", B) == 2
    assert ask(python, f"refusal(v2.Server({A!r}).Reset)", "--lose-answer")[0] == "ConnectionError"
    # a defect of that client's, which shows that the sandbox goes through the recorded statuses
    wait = f"refusal(v2.Server({A!r}).Reset().requests[0].WaitUntilComplete, 0.02)"
    message = f"server {A.lower()} execution resumed"
    assert ask(python, wait, "--duration", "3s") == ["CLCException", message]
