"""Sections 7 and 8: blocks and their chain."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from outsider import cbor, envelope, merkle, summary
from outsider.cbor import CborError, Map, is_i64, is_uint
from outsider.envelope import BLOCK, Envelope, Header
from outsider.faults import Refused
from outsider.keys import Key
from outsider.senml import Table
from outsider.summary import Summary

ZEROS = bytes(32)


@dataclass(frozen=True)
class Block:
    """A block that was opened: its payload by key, its number, its hash, its summaries."""

    number: int
    hash: bytes
    payload: dict[int, Any]
    summaries: list[Summary]

    @property
    def daily(self) -> bool:
        """Whether it covers a whole day."""
        return bool(self.payload[3] == 0)

    @property
    def end(self) -> int:
        """The first sequence number after its run."""
        return int(self.payload[9] + self.payload[10])


def bounds(day: str, zone: str) -> tuple[int, int]:
    """The interval of a local day."""
    first = datetime.date.fromisoformat(day)
    start, end = (
        int(datetime.datetime.combine(date, datetime.time(), ZoneInfo(zone)).timestamp())
        for date in (first, first + datetime.timedelta(days=1))
    )
    return start, end


@dataclass(frozen=True)
class Day:
    """What a block is made of."""

    thing: str
    day: str
    zone: str
    interval: tuple[int, int]
    envelopes: Sequence[Envelope]
    table: Table


def make(day: Day, number: int, chain: Sequence[Block], salt: bytes, key: Key, interim: bool = False) -> bytes:
    """The message of a block that continues `chain`."""
    days = [block for block in chain if block.daily]
    previous = days[-1] if days else None
    openings: Mapping[str, Decimal] = summary.closings(previous.summaries) if previous else {}
    start, end = day.interval
    summaries = cbor.encode(summary.summarize(day.envelopes, day.table, start, end, openings, day.thing))
    payload: dict[int, Any] = {0: 1, 1: day.thing, 2: chain[-1].hash if chain else ZEROS, 3: int(interim)}
    if previous and not interim:
        payload[4] = previous.hash
    payload |= {5: day.day, 6: day.zone, 7: start, 8: end}
    payload |= {9: previous.end if previous else 0, 10: len(day.envelopes)}
    payload |= {11: merkle.root([one.leaf for one in day.envelopes])}
    payload |= {12: sum(len(one.data) for one in day.envelopes), 13: sum(one.units for one in day.envelopes)}
    payload |= {14: day.table.version, 15: summary.digest(salt, summaries)}
    sealed = envelope.seal(Header(day.thing, number, "vitro-block", BLOCK), cbor.encode(payload), key)
    return cbor.encode([sealed, salt, summaries])


def _is_hash(item: Any) -> bool:
    return isinstance(item, bytes) and len(item) == 32


def _is_day(item: Any) -> bool:
    if not isinstance(item, str) or not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", item) or item < "1970":
        return False
    try:
        datetime.date.fromisoformat(item)
    except ValueError:
        return False
    return True


RULES = {
    0: lambda item: is_uint(item) and item == 1,
    1: lambda item: isinstance(item, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", item) is not None,
    3: lambda item: is_uint(item) and item in (0, 1),
    5: _is_day,
    6: lambda item: isinstance(item, str) and re.fullmatch(r"[A-Za-z0-9/_+-]{1,64}", item) is not None,
    **dict.fromkeys((2, 4, 11, 15), _is_hash),
    **dict.fromkeys((7, 8), is_i64),
    **dict.fromkeys((9, 10, 12, 13, 14), is_uint),
}


def _payload(data: bytes) -> dict[int, Any]:
    try:
        item = cbor.decode(data)
        if isinstance(item, Map):
            item = Map([(key, value) for key, value in item if not (is_uint(key) and key >= 64)])
        payload = cbor.fields(item, RULES, optional=(4,))
    except CborError as error:
        raise Refused("not_a_block", str(error)) from error
    if payload[3] == 1 and 4 in payload:
        raise Refused("not_a_block", "an interim block names no previous day")
    if payload[9] + payload[10] >= 2**64:
        raise Refused("not_a_block", "the run passes the last number")
    return payload


def open_message(message: bytes, thing: str, public: bytes) -> Block:
    """Opens a block message; raises `Refused`."""
    try:
        parts = cbor.decode(message)
    except CborError as error:
        raise Refused("not_a_block", str(error)) from error
    if not isinstance(parts, list) or len(parts) != 3 or not all(isinstance(part, bytes) for part in parts):
        raise Refused("not_a_block", "no array of three byte strings")
    sealed, salt, summaries = parts
    if len(salt) != 16:
        raise Refused("not_a_block", "salt")
    opened = envelope.parse(sealed)
    if opened.header.typ != "vitro-block":
        raise Refused("wrong_kind")
    if opened.header.kid != thing:
        raise Refused("block_other_device")
    if not opened.verifies(public):
        raise Refused("bad_signature")
    payload = _payload(opened.payload)
    if payload[1] != thing:
        raise Refused("block_other_device")
    if summary.digest(salt, summaries) != payload[15]:
        raise Refused("digest_mismatch")
    try:
        figures = summary.decode(summaries)
    except CborError as error:
        raise Refused("bad_summaries", str(error)) from error
    _consistent(payload, figures)
    return Block(opened.header.number, opened.hash, payload, figures)


def _consistent(payload: dict[int, Any], figures: list[Summary]) -> None:
    start, end = payload[7], payload[8]
    least = 22 * 3600 if payload[3] == 0 else 1
    if not least <= end - start <= 26 * 3600:
        raise Refused("bad_day_length", str(end - start))
    names = [one[0].encode() for one in figures]
    if names != sorted(set(names)):
        raise Refused("bad_summaries", "order of sensors")
    for one in figures:
        if 6 in one:
            first, last = one[6][0], one[7][0]
            if not all(start <= time // 1000 < end for time in (first, last)) or first > last:
                raise Refused("bad_summaries", "first and last")
            if (one[3] == 1) != (first == last):
                raise Refused("bad_summaries", "first and last of one value")
        if 17 in one:
            grid, increase, largest = [slot.value for slot in one[17][1]], one[12].value, one[16].value
            if len(grid) != -(-end // 900) - start // 900 or min([*grid, largest]) < 0:
                raise Refused("bad_summaries", "grid")
            total = Decimal(0)
            for slot in grid:
                total = cbor.EXACT.add(total, slot)
            if total != increase or largest > increase:
                raise Refused("bad_summaries", "increase")
            began = one[6][1] if one[11] is None else one[11]
            never_down = one[13] == one[14] == one[15] == 0
            if never_down and increase != cbor.EXACT.subtract(one[7][1].value, began.value):
                raise Refused("bad_summaries", "increase of the register")


def follows(block: Block, chain: Sequence[Block]) -> None:
    """Checks that a block continues the chain; raises `Refused`."""
    days = [one for one in chain if one.daily]
    previous = days[-1] if days else None
    if block.number != len(chain) or block.payload[2] != (chain[-1].hash if chain else ZEROS):
        raise Refused("broken_chain")
    if block.daily and block.payload.get(4) != (previous.hash if previous else None):
        raise Refused("broken_chain", "previous day")
    if block.payload[9] != (previous.end if previous else 0):
        raise Refused("not_contiguous", "run")
    if previous and block.payload[7] != previous.payload[8]:
        raise Refused("not_contiguous", "time")
    left = summary.closings(previous.summaries) if previous else {}
    for one in block.summaries:
        opening = None if one.get(11) is None else one[11].value
        if one[2] == 1 and opening != left.get(one[0]):
            raise Refused("bad_opening", one[0])
