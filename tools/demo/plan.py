"""What the demo plays: the recording, the five devices, and what is expected of each."""

from __future__ import annotations

import csv
import datetime as dt
import tomllib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

from stack.model import REPO

CUSTOMER = "acme"
STAGE = "demo"
SHARD = "west"
CURRENCY = "USD"
PRICE = "0.25"
AGREEMENT = "ppa-1"
FOLDER = REPO / "target" / "demo"
DEFAULT_RECORDING = REPO / "recordings" / "midc-2018-10-14.csv"
DEFAULT_SENSORS = REPO / "recordings" / "midc-2018-10-14.toml"
DEFAULT_ZONE = "Etc/GMT+7"


class DemoError(Exception):
    """The demo cannot go on: one sentence for the person who started it."""


@dataclass(frozen=True)
class Device:
    """One of the demo's devices and the part it plays."""

    thing: str
    role: str
    """healthy, lossy or silent."""

    @property
    def metering_point(self) -> str:
        """The place it meters."""
        return f"mp-{self.thing}"

    @property
    def outcome(self) -> str:
        """How its day has to end."""
        return {"healthy": "matched", "lossy": "backfilled", "silent": "missing"}[self.role]


DEVICES = (
    Device("solar-1", "healthy"),
    Device("solar-2", "healthy"),
    Device("solar-3", "healthy"),
    Device("solar-4", "lossy"),
    Device("solar-5", "silent"),
)
# Local time at which the silent device stops.
SILENT_FROM = dt.time(14, 0)
# Of a recording a minute, the lossy device loses these messages; of others, those at the same places of the day.
MINUTES = 1440
LOST_SINGLE, LOST_RUN = 17, (300, 305)
# A day must have so many rows, and so many before the silent device stops, to play every part.
LEAST_ROWS, LEAST_BEFORE = 24, 12


@dataclass(frozen=True)
class Plan:
    """Which recording is replayed as which day."""

    recording: Path
    sensors: Path
    zone: str
    recorded_day: dt.date
    day: dt.date
    register: str
    unit: str
    resets_normal: bool
    width: str | None
    column: str
    times: tuple[dt.datetime, ...]
    """When the recorded day has a row, by the recording's own clock, in order."""

    @property
    def poll_seconds(self) -> int:
        """How often the devices poll: as often as the recording has rows, so that each row is reported."""
        steps = [round((b - a).total_seconds()) for a, b in pairwise(self.times)]
        return max(1, min(steps))

    @property
    def before_silence(self) -> int:
        """How many rows the silent device still reports."""
        return sum(time.time() < SILENT_FROM for time in self.times)

    @property
    def lost(self) -> list[int]:
        """The sequence numbers that get lost on the lossy device's way."""
        first, last = (self._place(number) for number in LOST_RUN)
        return sorted({self._place(LOST_SINGLE), *range(first, last + 1)})

    @property
    def used(self) -> int:
        """A sequence number that the silent device used, for the attacker to play with."""
        return self._place(100)

    @property
    def rate(self) -> int:
        """Messages a second of the devices that go on: a day takes a minute or more, at most what AWS takes on a connection."""
        return max(1, min(100, len(self.times) // 72))

    def _place(self, number: int) -> int:
        return number * len(self.times) // MINUTES

    @classmethod
    def make(cls, recording: Path, sensors: Path, zone: str, recorded_day: dt.date | None) -> Plan:
        """Reads the recording's description; DemoError says what is wrong with it."""
        tz = _zone(zone)
        try:
            table = tomllib.loads(sensors.read_text())
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise DemoError(f"{sensors}: {error}") from None
        counters = [column for column in table.get("column", []) if column.get("kind") == "counter"]
        if not counters:
            raise DemoError(f"{sensors}: no counter in it, so there is nothing to bill")
        counter = counters[0]
        width = counter.get("width")
        day, times = _rows(recording, recorded_day)
        return cls(
            recording=recording.resolve(),
            sensors=sensors.resolve(),
            zone=zone,
            recorded_day=day,
            day=dt.datetime.now(tz).date() - dt.timedelta(days=1),
            register=counter["name"],
            unit=counter["unit"],
            resets_normal=bool(counter.get("resets_normal", False)),
            width=None if width is None else str(width),
            column=counter["column"],
            times=times,
        )

    def bounds(self) -> tuple[dt.datetime, dt.datetime]:
        """The first instant of the day that is played, and of the next."""
        return self._bounds(self.day)

    def recorded_bounds(self) -> tuple[dt.datetime, dt.datetime]:
        """From the recorded day's first row to just after its last."""
        return self.times[0], self.times[-1] + dt.timedelta(microseconds=1)

    def _bounds(self, day: dt.date) -> tuple[dt.datetime, dt.datetime]:
        tz = _zone(self.zone)
        start = dt.datetime.combine(day, dt.time(), tz)
        return start, dt.datetime.combine(day + dt.timedelta(days=1), dt.time(), tz)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise DemoError(f"{name}: no such IANA time zone") from None


def _rows(recording: Path, wanted: dt.date | None) -> tuple[dt.date, tuple[dt.datetime, ...]]:
    """The day to play (the first, unless one is wanted) and the times of its rows."""
    try:
        with recording.open(newline="", encoding="utf-8") as lines:
            times = [dt.datetime.fromisoformat(row["time"]) for row in csv.DictReader(lines)]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DemoError(f"{recording}: its rows have no readable time: {error}") from None
    day = wanted or (times[0].date() if times else None)
    rows = tuple(time for time in times if time.date() == day)
    before = sum(time.time() < SILENT_FROM for time in rows)
    if day is None or len(rows) < LEAST_ROWS or before < LEAST_BEFORE or before == len(rows):
        raise DemoError(
            f"{recording}: to play every part, {day} needs at least {LEAST_ROWS} rows, {LEAST_BEFORE} of them before "
            f"{SILENT_FROM:%H:%M} and one after; it has {len(rows)}, {before} before"
        )
    return day, rows
