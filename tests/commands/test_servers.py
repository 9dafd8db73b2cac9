import json
import signal

import pytest

from clc_reset.sandbox.cloud import Cloud
from tests.fakes import HANG, Run, http, loopback, rows, start_clc, wait_until

WB01, WB02 = "VA1ALIASWB01", "VA1ALIASWB02"
JOB01, JOB02, JOB03 = "VA1ALIASJOB01", "VA1ALIASJOB02", "VA1ALIASJOB03"


@pytest.mark.usefixtures("as_demo")
def test_servers_are_listed_with_group_and_data_centre(clc: Run, served: Cloud) -> None:
    result = clc("servers")
    assert (result.exit_code, result.stderr) == (0, "")
    assert [row[:3] for row in rows(result.stdout)][:6] == [
        [WB01, "Web", "VA1"],
        [WB02, "Web", "VA1"],
        [JOB01, "Batch", "VA1"],
        [JOB02, "Nightly", "VA1"],
        [JOB03, "Reports", "VA1"],
        ["WA1ALIASWB01", "Web", "WA1"],
    ]
    assert rows(result.stdout)[0][3:] == [
        *("active", "started", "no", "2015-03-26T23:59:28+00:00", "demo", "")
    ]
    listed = {row[0] for row in rows(result.stdout)}
    assert set(served.servers) - listed == {"WA1ALIASOLD01"}


@pytest.mark.usefixtures("served", "as_demo")
def test_the_servers_of_some_groups_are_listed_in_the_order_named(clc: Run) -> None:
    result = clc("servers", "-g", "nightly", "--group", "DATABASE", "-o", "json")
    shown = json.loads(result.stdout)
    assert shown["account"] == "ALIAS"
    assert [tuple(each.values())[:3] for each in shown["servers"]] == [
        (JOB02, "Nightly", "VA1"),
        (JOB03, "Reports", "VA1"),
        ("WA1ALIASDB01", "Database", "WA1"),
        ("WA1ALIASDB02", "Database", "WA1"),
    ]
    assert shown["servers"][0] | {"seen_at": None, "changed_at": None} == {
        "server": JOB02,
        "group": "Nightly",
        "datacenter": "VA1",
        "status": "active",
        "power": "started",
        "maintenance": False,
        "changed_at": None,
        "changed_by": "demo",
        "seen_at": None,
        "message": None,
    }


@pytest.mark.usefixtures("served", "as_demo")
def test_servers_that_are_named_are_looked_at_in_the_order_named(clc: Run) -> None:
    result = clc("servers", WB02, JOB03.lower(), "-", stdin=f"{WB02}\n")
    assert (result.exit_code, result.stderr) == (0, "1 duplicate ignored\n")
    assert [[*row[:1], *row[2:6]] for row in rows(result.stdout)] == [
        [WB02, "VA1", "active", "started", "no"],
        [JOB03, "VA1", "active", "stopped", "no"],
    ]


@pytest.mark.parametrize("arguments", [["servers"], ["reset", "-y", "-g", "Web"]])
@pytest.mark.parametrize("group_hangs", [False, True])
def test_ctrl_c_while_groups_are_read_ends_at_once(arguments: list[str], group_hangs: bool) -> None:
    links = [[{"rel": "group", "id": digit * 32}] for digit in "01"]
    first = http(200, [{"id": "wa1", "links": links[0]}, {"id": "va1", "links": links[1]}])
    with loopback(*([first] if group_hangs else []), HANG) as server:
        running = start_clc(*arguments, CLC_BASE_URL=server.url)
        wait_until(lambda: len(server.requests) == (3 if group_hangs else 1))
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=5)
    assert (running.returncode, out) == (130, "")
    assert err == (
        "Interrupted.\n" if len(arguments) == 1 else "Interrupted. No server was reset.\n"
    )
