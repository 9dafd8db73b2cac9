import signal

import pytest

from tests.fakes import HANG, http, loopback, start_clc, wait_until


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
