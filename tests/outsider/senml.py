"""Section 5: sensor tables and packs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from outsider import cbor
from outsider.cbor import EXACT, Map, Num, Tag, is_i64, is_int
from outsider.faults import Refused

LAST_MILLI = 253_402_300_799_999
# A value is a number, None where it is marked missing, or something that is no number.
Value = Decimal | None | Literal["other"]


@dataclass(frozen=True)
class Sensor:
    """A sensor of the table."""

    name: str
    unit: str
    counter: bool
    width: Decimal | None = None
    resets_normal: bool = False


@dataclass(frozen=True)
class Table:
    """A version of a device's sensors, sorted by name."""

    version: int
    sensors: tuple[Sensor, ...]

    @classmethod
    def from_json(cls, table: dict[str, Any]) -> Table:
        """From the JSON of `docs/formats.md`."""
        sensors = [
            Sensor(
                sensor["name"],
                sensor["unit"],
                sensor["kind"] == "counter",
                Decimal(sensor["width"]) if sensor.get("width") is not None else None,
                sensor.get("resets_normal", False),
            )
            for sensor in table["sensors"]
        ]
        return cls(table["version"], tuple(sorted(sensors, key=lambda sensor: sensor.name.encode())))

    def get(self, name: str | None) -> Sensor | None:
        """The sensor of this name."""
        return next((sensor for sensor in self.sensors if sensor.name == name), None)


@dataclass(frozen=True)
class Record:
    """A reading."""

    sensor: str
    unit: str | None
    millis: int
    value: Value


@dataclass(frozen=True)
class Fault:
    """A record that does not count; `sensor` is whose it is, if that can be told."""

    code: str
    sensor: str | None


@dataclass(frozen=True)
class Reading:
    """What a device says of one sensor; None: marked missing. `value` may also be any CBOR item, written as it is."""

    sensor: str
    unit: str
    value: Any


class _OutOfRange:
    """A number that the profile does not allow."""


OUT = _OutOfRange()
Number = Decimal | _OutOfRange


def write(thing: str, millis: int, readings: Sequence[Reading]) -> bytes:
    """A pack of readings of one instant."""
    records: list[dict[int, Any]] = []
    for reading in readings:
        record: dict[int, Any] = {0: reading.sensor, 1: reading.unit}
        if reading.value is None:
            record[3] = "missing"
        else:
            record[2] = Num(reading.value) if isinstance(reading.value, Decimal) else reading.value
        if not records:
            record[-2] = f"{thing}/"
            record[-3] = Num(cbor.of_parts(millis, -3))
        records.append(record)
    return cbor.encode(records)


def read(payload: bytes, thing: str) -> list[Record | Fault]:
    """Reads a pack; raises `Refused` where the whole pack has a fault."""
    try:
        elements = cbor.decode(payload)
    except cbor.CborError as error:
        raise Refused("unreadable_pack", str(error)) from error
    if not isinstance(elements, list) or not elements:
        raise Refused("unreadable_pack")
    if len(elements) > 256:
        raise Refused("too_many_records")
    base: dict[int, Any] = {}
    seen: set[tuple[str, int]] = set()
    records: list[Record | Fault] = []
    for element in elements:
        own = _fields(element)
        base.update({label: value for label, value in own.items() if label < 0})
        if not any(label in own for label in (0, 1, 2, 3, 4, 8, 5, 6)):
            continue
        record = _resolve(own, base, thing)
        if isinstance(record, Record):
            if (record.sensor, record.millis) in seen:
                record = Fault("duplicate_record", record.sensor)
            else:
                seen.add((record.sensor, record.millis))
        records.append(record)
    return records


NUMBERS, TEXTS = (2, 5, 6, 7, -3, -5, -6), (0, 1, 3, -2, -4)


def _fields(element: Any) -> dict[int, Any]:
    if not isinstance(element, Map):
        raise Refused("unreadable_pack", "an element is no map")
    own: dict[int, Any] = {}
    for label, value in element:
        if isinstance(label, str):
            if label.endswith("_"):
                raise Refused("unreadable_pack", f"{label} must be understood")
            continue
        if not is_i64(label):
            raise Refused("unreadable_pack", "a label")
        good = True
        if label in NUMBERS:
            value = _number(value)
            good = value is not None
        elif label in TEXTS:
            good = isinstance(value, str)
        elif label == 4:
            good = isinstance(value, bool)
        elif label == 8:
            good = isinstance(value, bytes)
        elif label == -1:
            good = is_int(value) and 0 <= value <= 10
        if not good:
            raise Refused("unreadable_pack", f"label {label}")
        own[label] = value
    return own


def _number(item: Any) -> Number | None:
    """The exact number, OUT if it is out of range, None if the item is no number at all."""
    if isinstance(item, float):
        return _float(item)
    if is_int(item):
        return Decimal(item) if abs(item) < 2**63 else OUT
    if not isinstance(item, Tag):
        return None
    if item.number in (2, 3):
        return OUT if isinstance(item.value, bytes) else None
    if item.number != 4 or not isinstance(item.value, list) or len(item.value) != 2:
        return None
    exponent, mantissa = item.value
    if not is_int(exponent) or cbor.whole(mantissa) is None:
        return None
    if not is_int(mantissa) or abs(mantissa) >= 2**63 or not -12 <= exponent <= 12:
        return OUT
    return cbor.of_parts(mantissa, exponent)


def _float(value: float) -> Number:
    if value != value or value in (float("inf"), float("-inf")):
        return OUT
    shortest = Decimal(repr(value))  # repr gives the shortest digits that read back as the same double
    mantissa, exponent = cbor.parts(shortest)
    if exponent < -30 or abs(shortest) >= Decimal(10) ** 31:
        return OUT
    return cbor.of_parts(mantissa, exponent)


def _resolve(own: dict[int, Any], base: dict[int, Any], thing: str) -> Record | Fault:
    name = base.get(-2, "") + own.get(0, "")
    if not name.startswith(f"{thing}/") or len(name) == len(thing) + 1:
        return Fault("foreign_name", None)
    sensor = name[len(thing) + 1 :]
    try:
        millis = _millis(base.get(-3), own.get(6))
        value = _value(own, base.get(-5))
    except Refused as fault:
        return Fault(fault.code, sensor)
    return Record(sensor, own.get(1, base.get(-4)), millis, value)


def _millis(base: Number | None, own: Number | None) -> int:
    if base is None and own is None:
        raise Refused("relative_time")
    if isinstance(base, _OutOfRange) or isinstance(own, _OutOfRange):
        raise Refused("bad_time")
    time = EXACT.add(base or Decimal(0), own or Decimal(0))
    if time < 2**28:
        raise Refused("relative_time")
    millis = EXACT.multiply(time, Decimal(1000))
    if millis != millis.to_integral_value() or millis > LAST_MILLI:
        raise Refused("bad_time")
    return int(millis)


def _value(own: dict[int, Any], base: Number | None) -> Value:
    given = [label for label in (2, 3, 4, 8) if label in own]
    if len(given) > 1:
        raise Refused("several_values")
    if not given and 5 in own:
        raise Refused("sum_only")
    if given and given[0] != 2:
        return None if own.get(3) == "missing" else "other"
    terms = [term for term in (own.get(2), base) if term is not None]
    if not terms:
        raise Refused("no_value")
    total = Decimal(0)
    for term in terms:
        if isinstance(term, _OutOfRange):
            raise Refused("number_out_of_range")
        total = EXACT.add(total, term)
    return total


def check(record: Record, sensor: Sensor) -> Decimal | None:
    """A record's number, or None where it is marked missing, as its sensor's declaration allows; raises `Refused`."""
    if record.unit != sensor.unit and not (record.value is None and record.unit is None):
        raise Refused("unit_mismatch")
    if record.value == "other":
        raise Refused("not_a_number")
    return record.value


def codes(payload: bytes, thing: str, table: Table) -> set[str]:
    """All faults of a pack as far as they can be told without the rest of the day."""
    try:
        records = read(payload, thing)
    except Refused as fault:
        return {fault.code}
    found: set[str] = set()
    for record in records:
        if isinstance(record, Fault):
            found.add(record.code)
            continue
        sensor = table.get(record.sensor)
        if sensor is None:
            found.add("unknown_sensor")
            continue
        try:
            check(record, sensor)
        except Refused as fault:
            found.add(fault.code)
    return found
