"""The increase of a recording, by hand."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path

import pytest

from outsider.recording import increase


def csv(folder: Path, *cells: str) -> Path:
    file = folder / "recording.csv"
    rows = [f"2018-10-14T00:{minute:02}:00-07:00,{cell},x" for minute, cell in enumerate(cells)]
    file.write_text("\n".join(["time,register,note", *rows]) + "\n")
    return file


@pytest.mark.parametrize(
    ("cells", "resets", "width", "expected"),
    [
        (("5", "5", "6.25"), False, None, "1.25"),
        (("4.61923", "0", "0.02", "3.0903"), True, None, "3.0903"),
        (("4.61923", "0", "0.02", "3.0903"), False, None, "3.0903"),
        (("50", "40", "41.5"), False, None, "1.5"),
        (("99999", "", "1"), False, "100000", "2"),
        (("99999", "1"), False, None, "0"),
        (("",), True, None, "0"),
        ((), True, None, "0"),
    ],
)
def test_increase(tmp_path: Path, cells: tuple[str, ...], resets: bool, width: str | None, expected: str) -> None:
    assert increase(csv(tmp_path, *cells), "register", resets, width) == Decimal(expected)


def test_an_opening_and_a_part_of_the_rows(tmp_path: Path) -> None:
    file = csv(tmp_path, "1", "2", "4", "8")
    zone = datetime.timezone(datetime.timedelta(hours=-7))
    start = datetime.datetime(2018, 10, 14, 0, 1, tzinfo=zone)
    assert increase(file, "register", opening="0.5") == Decimal("7.5")
    assert increase(file, "register", opening="1.5") == 7, "a decrease adds nothing and is followed"
    assert increase(file, "register", start=start) == 6
    assert increase(file, "register", opening=1, start=start, end=start + datetime.timedelta(minutes=2)) == 3


def test_rows_count_in_order_of_time_and_once(tmp_path: Path) -> None:
    file = tmp_path / "recording.csv"
    file.write_text(
        "time,register\n2018-10-14T07:02:00Z,4\n2018-10-14T00:00:00-07:00,1\n2018-10-14T07:01:00Z,2\n"
        "2018-10-14T00:02:00-07:00,3\n"
    )
    assert increase(file, "register") == 3


def test_a_time_without_offset_is_no_time(tmp_path: Path) -> None:
    file = tmp_path / "recording.csv"
    file.write_text("time,register\n2018-10-14T07:02:00,4\n")
    with pytest.raises(ValueError, match="no offset"):
        increase(file, "register")
