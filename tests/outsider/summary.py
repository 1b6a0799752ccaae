"""Section 6: a day by sensor, and section 7's digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from outsider import cbor, senml
from outsider.cbor import EXACT, CborError, Map, Num, is_i64, is_int, is_uint
from outsider.envelope import SENML, Envelope
from outsider.faults import Refused
from outsider.senml import Fault, Sensor, Table

Summary = dict[int, Any]


def step(
    previous: Decimal, value: Decimal, width: Decimal | None = None, resets_normal: bool = False
) -> tuple[str, Decimal]:
    """How a register goes from one reading to the next, and what that adds."""
    if value >= previous:
        return "advance", EXACT.subtract(value, previous)
    if width is not None:
        tenth = EXACT.multiply(width, Decimal("0.1"))
        if EXACT.subtract(width, tenth) <= previous < width and 0 <= value < tenth:
            return "rollover", EXACT.add(EXACT.subtract(width, previous), value)
    if resets_normal and value >= 0:
        return "reset", value
    return "decrease", Decimal(0)


def summarize(
    envelopes: Iterable[Envelope], table: Table, start: int, end: int, openings: Mapping[str, Decimal], thing: str
) -> list[Summary]:
    """The summaries of a run."""
    taken: dict[str, list[tuple[int, int, int, Decimal | None]]] = {sensor.name: [] for sensor in table.sensors}
    flagged = dict.fromkeys(taken, 0)
    for envelope in envelopes:
        if envelope.header.content != SENML:
            continue
        try:
            records = senml.read(envelope.payload, thing)
        except Refused:
            continue
        for place, record in enumerate(records):
            sensor = table.get(record.sensor)
            if sensor is None:
                continue
            try:
                if isinstance(record, Fault):
                    raise Refused(record.code)
                value = senml.check(record, sensor)
                if not start <= record.millis // 1000 < end:
                    raise Refused("outside_day")
            except Refused:
                flagged[sensor.name] += 1
                continue
            taken[sensor.name].append((record.millis, envelope.header.number, place, value))
    return [
        _summary(sensor, taken[sensor.name], flagged[sensor.name], start, end, openings.get(sensor.name))
        for sensor in table.sensors
    ]


def _summary(
    sensor: Sensor,
    taken: list[tuple[int, int, int, Decimal | None]],
    flagged: int,
    start: int,
    end: int,
    opening: Decimal | None,
) -> Summary:
    first_at: dict[int, Decimal | None] = {}
    for millis, _, _, value in sorted(taken, key=lambda record: record[:3]):
        if millis in first_at:
            flagged += 1
        else:
            first_at[millis] = value
    values = [(millis, value) for millis, value in first_at.items() if value is not None]
    summary: Summary = {0: sensor.name, 1: sensor.unit, 2: int(sensor.counter)}
    summary |= {3: len(values), 4: len(first_at) - len(values), 5: flagged}
    if values:
        summary |= {6: [values[0][0], Num(values[0][1])], 7: [values[-1][0], Num(values[-1][1])]}
    if not sensor.counter:
        if values:
            numbers = [value for _, value in values]
            total = Decimal(0)
            for number in numbers:
                total = EXACT.add(total, number)
            summary |= {8: Num(min(numbers)), 9: Num(max(numbers)), 10: Num(total)}
        return summary
    summary[11] = None if opening is None else Num(opening)
    if not values:
        return summary
    counts = {"advance": 0, "reset": 0, "rollover": 0, "decrease": 0}
    grid = [Decimal(0)] * (-(-end // 900) - start // 900)
    increase, largest = Decimal(0), Decimal(0)
    previous = values[0][1] if opening is None else opening
    for millis, value in values:
        kind, amount = step(previous, value, sensor.width, sensor.resets_normal)
        counts[kind] += 1
        increase = EXACT.add(increase, amount)
        largest = max(largest, amount)
        slot = millis // 1000 // 900 - start // 900
        grid[slot] = EXACT.add(grid[slot], amount)
        previous = value
    summary[5] += counts["decrease"]
    summary |= {12: Num(increase), 13: counts["reset"], 14: counts["rollover"], 15: counts["decrease"]}
    summary |= {16: Num(largest), 17: [900, [Num(amount) for amount in grid]]}
    return summary


def closings(summaries: Iterable[Summary]) -> dict[str, Decimal]:
    """The openings that these summaries leave."""
    left: dict[str, Decimal] = {}
    for summary in summaries:
        if summary[2] != 1:
            continue
        last = summary[7][1] if 7 in summary else summary[11]
        if last is not None:
            left[summary[0]] = last.value
    return left


def digest(salt: bytes, summaries: bytes) -> bytes:
    """What a block says of its summaries."""
    return hashlib.sha256(b"\2" + salt + summaries).digest()


def _is_at(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 2 and is_i64(item[0])


def _anything(_: Any) -> bool:
    return True


RULES = {
    0: lambda item: isinstance(item, str),
    1: lambda item: isinstance(item, str),
    2: lambda item: is_int(item) and item in (0, 1),
    **dict.fromkeys((3, 4, 5, 13, 14, 15), is_uint),
    **dict.fromkeys((6, 7), _is_at),
    **dict.fromkeys((8, 9, 10, 11, 12, 16), _anything),
    17: lambda item: (
        isinstance(item, list) and len(item) == 2 and is_int(item[0]) and item[0] == 900 and isinstance(item[1], list)
    ),
}


def decode(data: bytes) -> list[Summary]:
    """Reads summaries; raises `CborError` for what is not of their form."""
    items = cbor.decode(data)
    if not isinstance(items, list):
        raise CborError("not an array")
    return [_decode_one(item) for item in items]


def _decode_one(item: Any) -> Summary:
    if not isinstance(item, Map):
        raise CborError("not a map")
    summary = cbor.fields(item, RULES, optional=tuple(range(6, 18)))
    wanted = {0, 1, 2, 3, 4, 5} | ({11} if summary[2] else set())
    if summary[3]:
        wanted |= {6, 7} | ({12, 13, 14, 15, 16, 17} if summary[2] else {8, 9, 10})
    if set(summary) != wanted:
        raise CborError("keys that do not belong to its kind or its count of values")
    for key in summary:
        if key in (6, 7):
            summary[key] = [summary[key][0], Num(cbor.read_num(summary[key][1]))]
        elif key in (8, 9, 10, 12, 16) or (key == 11 and summary[11] is not None):
            summary[key] = Num(cbor.read_num(summary[key]))
        elif key == 17:
            summary[17] = [900, [Num(cbor.read_num(slot)) for slot in summary[17][1]]]
    return dict(sorted(summary.items()))
