from datetime import UTC, datetime

import pytest

from clc_reset import clocks
from clc_reset.clocks import ApiTime, Clocks, Moment

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
AT = Moment(NOON.timestamp(), 1000.0, "boot")


def test_the_present_goes_on_with_both_clocks_and_has_no_boot_id_where_the_system_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = Clocks().now()
    assert now.seconds_since(now._replace(wall=0.0)) == 0
    assert 0 <= Clocks().now().seconds_since(now) < 60
    monkeypatch.setattr(clocks, "_BOOT_ID", "/nonexistent")
    monkeypatch.setattr(clocks, "_boot_id", clocks._boot_id.__wrapped__)  # noqa: SLF001 - uncached
    assert Clocks().now().boot_id == ""


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
