from pathlib import Path

from clc_reset.listing import Listing, load, save

URL = "https://api.ctl.io"
WEB = Listing(["Web"], ["WA1ALIASWB01"])


def test_what_was_listed_is_kept_for_the_user_only(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    save(str(folder), URL, "ALIAS", Listing(["Old"], []))
    save(str(folder), URL, "ALIAS", WEB)
    save(str(folder), URL, "OTHR", Listing(["Web", "Batch"], ["VA1OTHRJOB01"]))
    assert load(str(folder), URL) == (["Web", "Batch"], ["WA1ALIASWB01", "VA1OTHRJOB01"])
    assert load(str(folder), f"{URL}:8443") == ([], [])
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}


def test_what_can_not_be_kept_is_not_missed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    save(str(tmp_path / "file" / "cache"), URL, "ALIAS", WEB)
    assert load(str(tmp_path / "file" / "cache"), URL) == ([], [])


def test_a_name_of_two_lines_is_not_kept(tmp_path: Path) -> None:
    save(str(tmp_path), URL, "ALIAS", Listing(["Web\nWeb", "B\u00e4tch"], []))
    assert load(str(tmp_path), URL) == (["B\u00e4tch"], [])
