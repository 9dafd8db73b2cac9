from datetime import UTC, datetime

import pytest

from clc_reset.clocks import ApiTime, Clocks, Moment

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
AT = Moment(NOON.timestamp(), 1000.0, "boot")


def test_the_present_goes_on_with_both_clocks() -> None:
    clocks = Clocks()
    first, second = clocks.now(), clocks.now()
    assert first.boot <= second.boot
    assert first.boot_id == second.boot_id
    assert second.seconds_since(first) >= 0
    assert clocks.monotonic() <= clocks.monotonic()
    assert AT.utc == NOON


@pytest.mark.parametrize(
    ("boot_id", "other_boot_id", "shares", "seconds"),
    [("boot", "boot", True, 5.0), ("boot", "other", False, -420.0), ("", "", False, -420.0)],
)
def test_an_age_comes_from_the_boot_clock_where_both_share_a_boot(
    boot_id: str, other_boot_id: str, seconds: float, *, shares: bool
) -> None:
    """The wall clock was set back by seven minutes."""
    earlier = AT._replace(boot_id=boot_id)
    now = Moment(AT.wall - 420, 1005.0, other_boot_id)
    assert now.shares_boot_with(earlier) is shares
    assert now.seconds_since(earlier) == seconds


def test_the_apis_clock_is_reckoned_from_one_of_its_times() -> None:
    api = ApiTime(NOON, AT)
    assert api.of(AT) == NOON
    assert (NOON - api.of(AT._replace(wall=0.0, boot=970.0))).total_seconds() == 30
    assert (api.of(AT._replace(wall=AT.wall + 60, boot_id="")) - NOON).total_seconds() == 60


def test_where_the_system_has_no_boot_id_it_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    from clc_reset import clocks

    monkeypatch.setattr(clocks, "_BOOT_ID", "/nonexistent")
    clocks._boot_id.cache_clear()  # noqa: SLF001 - it is read once in a process
    assert Clocks().now().boot_id == ""
    clocks._boot_id.cache_clear()  # noqa: SLF001 - the same
