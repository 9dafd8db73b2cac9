from clc_reset.workers import Done
from tests.virtual import NOON, VirtualClocks, VirtualInbox


def test_only_what_is_waited_for_takes_time_and_a_signal_comes_between() -> None:
    clocks = VirtualClocks()
    inbox = VirtualInbox(clocks)
    inbox.latency = lambda key: 7.0 if key == "slow" else 0.5
    for key in ("slow", "quick"):
        inbox.submit(key, lambda: clocks.seconds)
    inbox.signal(3.0)
    assert (inbox.next(60.0), clocks.seconds) == (Done("quick", 0.5), 0.5)
    assert inbox.next(1.0) is None
    assert (clocks.seconds, inbox.pauses, inbox.signum) == (1.5, [1.0], None)
    inbox.suspend(2.0, until=3600.0)
    assert (inbox.next(1.0), clocks.seconds) == (None, 3600.0)
    assert inbox.next(10.0) == Done("slow", 3600.0)
    assert (inbox.signum, clocks.now().utc.hour) == (15, NOON.hour + 1)
