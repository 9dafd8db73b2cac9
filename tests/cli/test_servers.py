import json
import signal
import subprocess

import pytest
import respx

from clc_reset.sandbox.cloud import Cloud
from tests.cli.conftest import Run
from tests.cli.test_main import environment
from tests.fakes import CLC, HANG, http, jwt, loopback, wait_until

WB01, WB02 = "VA1ALIASWB01", "VA1ALIASWB02"
JOB01, JOB02, JOB03 = "VA1ALIASJOB01", "VA1ALIASJOB02", "VA1ALIASJOB03"


def rows(stdout: str) -> list[list[str]]:
    return [line.split("\t") for line in stdout.splitlines()]


@pytest.mark.usefixtures("as_demo")
def test_servers_are_listed_with_group_and_data_centre(clc: Run, served: Cloud) -> None:
    result = clc("servers")
    assert (result.exit_code, result.stderr) == (0, "")
    assert rows(result.stdout)[:6] == [
        [WB01, "Web", "VA1"],
        [WB02, "Web", "VA1"],
        [JOB01, "Batch", "VA1"],
        [JOB02, "Nightly", "VA1"],
        [JOB03, "Reports", "VA1"],
        ["WA1ALIASWB01", "Web", "WA1"],
    ]
    listed = {server for server, _, _ in rows(result.stdout)}
    assert set(served.servers) - listed == {"WA1ALIASOLD01"}


@pytest.mark.usefixtures("served", "as_demo")
def test_the_servers_of_some_groups_are_listed_in_the_order_named(clc: Run) -> None:
    result = clc("servers", "-g", "nightly", "--group", "DATABASE", "-o", "json")
    assert json.loads(result.stdout) == {
        "account": "ALIAS",
        "servers": [
            {"server": JOB02, "group": "Nightly", "datacenter": "VA1"},
            {"server": JOB03, "group": "Reports", "datacenter": "VA1"},
            {"server": "WA1ALIASDB01", "group": "Database", "datacenter": "WA1"},
            {"server": "WA1ALIASDB02", "group": "Database", "datacenter": "WA1"},
        ],
    }


@pytest.mark.usefixtures("served", "as_demo")
def test_no_servers_are_an_empty_list_and_a_note(clc: Run) -> None:
    result = clc("servers", "-g", "Staging", "-o", "json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"account": "ALIAS", "servers": []}
    assert result.stderr == "No server in account ALIAS that could be reset.\n"


@pytest.mark.usefixtures("served", "as_demo")
def test_no_servers_are_a_table_without_rows(clc: Run) -> None:
    result = clc("servers", "-g", "Staging", "-o", "table")
    assert result.exit_code == 0
    assert "Server" in result.stdout


@pytest.mark.parametrize(("name", "words"), [("", "unset?"), ("Web", "has 2 groups"), ("x", "no")])
@pytest.mark.usefixtures("served", "as_demo")
def test_a_group_that_is_not_one_is_a_usage_error(clc: Run, name: str, words: str) -> None:
    result = clc("servers", "-g", name)
    assert result.exit_code == 2
    assert words in result.stderr


@pytest.mark.usefixtures("served", "as_demo")
def test_another_account_is_asked_for_with_a(clc: Run) -> None:
    result = clc("servers", "-a", "sub")
    assert result.exit_code == 4
    assert "see nothing in account SUB (403)" in result.stderr


def test_an_answer_that_can_not_be_read_is_5(
    clc: Run, api_ctl_io: respx.Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    api_ctl_io.get().respond(200, json=[{"id": "wa1", "links": "x"}])
    monkeypatch.setenv("CLC_TOKEN", jwt())
    result = clc("servers", "-o", "json")
    assert result.exit_code == 5
    assert json.loads(result.stdout)["error"]["kind"] == "refused"


@pytest.mark.parametrize("arguments", [["servers"], ["reset", "-y", "-g", "Web"]])
@pytest.mark.parametrize("group_hangs", [False, True])
def test_ctrl_c_while_groups_are_read_ends_at_once(arguments: list[str], group_hangs: bool) -> None:
    root = {"rel": "group", "id": "0" * 32}
    first = http(200, [{"id": "wa1", "links": [root]}, {"id": "va1", "links": [root]}])
    with loopback(*([first] if group_hangs else []), HANG) as server:
        running = subprocess.Popen(
            [CLC, *arguments],
            env=environment(CLC_BASE_URL=server.url),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(lambda: len(server.requests) == (3 if group_hangs else 1))
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=5)
    assert (running.returncode, out) == (130, "")
    assert err == (
        "Interrupted.\n" if len(arguments) == 1 else "Interrupted. No server was reset.\n"
    )
