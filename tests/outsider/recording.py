"""What an outsider computes from a recording: no envelope, no device, only the rows."""

from __future__ import annotations

import csv
import datetime
from decimal import Decimal
from pathlib import Path

from outsider.cbor import EXACT
from outsider.summary import step


def values(path: Path | str, column: str) -> list[tuple[datetime.datetime, Decimal]]:
    """A column's values in order of time; empty cells are missing. Of several rows of one time, the first counts."""
    found: dict[datetime.datetime, Decimal | None] = {}
    with Path(path).open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            time = datetime.datetime.fromisoformat(row["time"])
            if time.tzinfo is None:
                raise ValueError(f"{row['time']} has no offset")
            cell = (row[column] or "").strip()
            found.setdefault(time, Decimal(cell) if cell else None)
    return [(time, value) for time, value in sorted(found.items()) if value is not None]


def increase(
    csv_path: Path | str,
    column: str,
    resets_normal: bool = False,
    width: Decimal | str | None = None,
    *,
    opening: Decimal | int | str | None = None,
    start: datetime.datetime | None = None,
    end: datetime.datetime | None = None,
) -> Decimal:
    """By how much a register rose over a recording, or over its rows in [start, end).

    Without an opening the first value adds nothing.
    """
    register = Decimal(width) if width is not None else None
    previous = Decimal(opening) if opening is not None else None
    total = Decimal(0)
    for time, value in values(csv_path, column):
        if (start is not None and time < start) or (end is not None and time >= end):
            continue
        if previous is not None:
            total = EXACT.add(total, step(previous, value, register, resets_normal)[1])
        previous = value
    return total
