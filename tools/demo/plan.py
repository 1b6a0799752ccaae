"""What the demo plays: the recording, the five devices, and what is expected of each."""

from __future__ import annotations

import datetime as dt
import tomllib
from dataclasses import dataclass
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
# The sequence numbers that the lossy device's messages carry which never arrive.
LOST = (17, 300, 301, 302, 303, 304, 305)
# Local time at which the silent device stops.
SILENT_FROM = "14:00"


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
        return cls(
            recording=recording.resolve(),
            sensors=sensors.resolve(),
            zone=zone,
            recorded_day=recorded_day or _first_day(recording, tz),
            day=dt.datetime.now(tz).date() - dt.timedelta(days=1),
            register=counter["name"],
            unit=counter["unit"],
            resets_normal=bool(counter.get("resets_normal", False)),
            width=None if width is None else str(width),
            column=counter["column"],
        )

    def bounds(self) -> tuple[dt.datetime, dt.datetime]:
        """The first instant of the day that is played, and of the next."""
        return self._bounds(self.day)

    def recorded_bounds(self) -> tuple[dt.datetime, dt.datetime]:
        """The first instant of the recorded day, and of the next."""
        return self._bounds(self.recorded_day)

    def _bounds(self, day: dt.date) -> tuple[dt.datetime, dt.datetime]:
        tz = _zone(self.zone)
        start = dt.datetime.combine(day, dt.time(), tz)
        return start, dt.datetime.combine(day + dt.timedelta(days=1), dt.time(), tz)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise DemoError(f"{name}: no such IANA time zone") from None


def _first_day(recording: Path, tz: ZoneInfo) -> dt.date:
    try:
        with recording.open() as lines:
            next(lines)
            time = dt.datetime.fromisoformat(next(lines).split(",", 1)[0])
    except (OSError, StopIteration, ValueError) as error:
        raise DemoError(f"{recording}: the first row has no readable time: {error}") from None
    return time.astimezone(tz).date()
