"""Section 1: a strict reader of CBOR that keeps what cbor2 would interpret, and decimals in their one encoding."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Clamped, Context, Decimal, Inexact, InvalidOperation, Overflow, Rounded
from typing import Any

import cbor2

MAX_DEPTH = 16

# Wide enough for every number of the formats; what would round raises instead.
EXACT = Context(prec=600, traps=[Inexact, Rounded, Overflow, InvalidOperation, Clamped])


class CborError(ValueError):
    """Not an acceptable CBOR item."""


class TrailingError(CborError):
    """An item, and bytes after it."""


@dataclass(frozen=True)
class Tag:
    """A tagged item as it stands, whatever the tag means."""

    number: int
    value: Any


@dataclass(frozen=True)
class Simple:
    """A simple value that is neither a boolean nor null nor undefined."""

    number: int


class Map:
    """A map's entries in the order of their bytes."""

    def __init__(self, entries: list[tuple[Any, Any]]) -> None:
        self.entries = entries

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


def is_int(item: object) -> bool:
    """Whether an item is an integer of major type 0 or 1."""
    return isinstance(item, int) and not isinstance(item, bool)


def is_uint(item: object) -> bool:
    """Whether an item is an unsigned integer."""
    return is_int(item) and item >= 0  # type: ignore[operator]


def is_i64(item: object) -> bool:
    """Whether an item is an integer of 64 bits with a sign."""
    return is_int(item) and -(2**63) <= item < 2**63  # type: ignore[operator]


def decode(data: bytes) -> Any:
    """The one item that `data` is."""
    item, end = _item(data, 0, 0)
    if end != len(data):
        raise TrailingError(f"{len(data) - end} bytes follow")
    return item


def _head(data: bytes, at: int) -> tuple[int, int, int, int]:
    if at >= len(data):
        raise CborError("the bytes end")
    major, info = data[at] >> 5, data[at] & 31
    if info < 24:
        return major, info, info, at + 1
    if info > 27:
        raise CborError("indefinite length" if info == 31 else "reserved additional information")
    size = 1 << (info - 24)
    raw = data[at + 1 : at + 1 + size]
    if len(raw) < size:
        raise CborError("the bytes end in a head")
    return major, info, int.from_bytes(raw, "big"), at + 1 + size


def _item(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    if depth > MAX_DEPTH:
        raise CborError("nested too deeply")
    major, info, argument, start = _head(data, at)
    if major == 0:
        return argument, start
    if major == 1:
        return -1 - argument, start
    if major in (2, 3):
        end = start + argument
        if end > len(data):
            raise CborError("a string longer than its bytes")
        raw = data[start:end]
        if major == 2:
            return raw, end
        try:
            return raw.decode("utf-8"), end
        except UnicodeDecodeError:
            raise CborError("text that is not UTF-8") from None
    if major == 4:
        items = []
        for _ in range(argument):
            item, start = _item(data, start, depth + 1)
            items.append(item)
        return items, start
    if major == 5:
        return _map(data, start, argument, depth)
    if major == 6:
        value, end = _item(data, start, depth + 1)
        return Tag(argument, value), end
    return _simple(info, argument), start


def _map(data: bytes, at: int, count: int, depth: int) -> tuple[Map, int]:
    entries: list[tuple[Any, Any]] = []
    seen: set[object] = set()
    for _ in range(count):
        key, end = _item(data, at, depth + 1)
        identity = ("int", key) if is_int(key) else ("bytes", data[at:end])
        if identity in seen:
            raise CborError("a duplicate key")
        seen.add(identity)
        value, at = _item(data, end, depth + 1)
        entries.append((key, value))
    return Map(entries), at


def _simple(info: int, argument: int) -> Any:
    formats: dict[int, tuple[str, int]] = {25: (">e", 2), 26: (">f", 4), 27: (">d", 8)}
    if info in formats:
        form, size = formats[info]
        return struct.unpack(form, argument.to_bytes(size, "big"))[0]
    if info == 24 and argument < 32:
        raise CborError("a simple value in two bytes that fits one")
    return {20: False, 21: True, 22: None, 23: cbor2.undefined}.get(argument, Simple(argument))


def encode(item: Any) -> bytes:
    """Deterministic CBOR, if maps are given in the order of their keys' encodings; decimals in their one encoding."""
    return cbor2.dumps(item, default=_default)


def _default(encoder: Any, item: Any) -> None:
    if isinstance(item, Num):
        encoder.encode(item.item())
        return
    raise TypeError(f"{type(item)} has no encoding here")


class Num:
    """An exact decimal that is written as the rule `num`."""

    def __init__(self, value: Decimal) -> None:
        self.value = value

    def item(self) -> int | cbor2.CBORTag:
        """What cbor2 writes for it."""
        mantissa, exponent = parts(self.value)
        if exponent >= 0:
            return mantissa * 10**exponent
        return cbor2.CBORTag(4, [exponent, mantissa])


def parts(value: Decimal) -> tuple[int, int]:
    """Mantissa without trailing zeros, and exponent."""
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int), "only finite numbers come here"
    mantissa = int("".join(map(str, digits)))
    if mantissa == 0:
        return 0, 0
    while mantissa % 10 == 0:
        mantissa //= 10
        exponent += 1
    return (-mantissa if sign else mantissa), exponent


def of_parts(mantissa: int, exponent: int) -> Decimal:
    """mantissa x 10^exponent, exactly."""
    return Decimal(mantissa).scaleb(exponent, context=EXACT)


def whole(item: Any) -> int | None:
    """The integer that a plain integer or a bignum is."""
    if is_int(item):
        return int(item)
    if isinstance(item, Tag) and item.number in (2, 3) and isinstance(item.value, bytes):
        magnitude = int.from_bytes(item.value, "big")
        return magnitude if item.number == 2 else -1 - magnitude
    return None


def read_num(item: Any) -> Decimal:
    """The number that an item of the rule `num` is, in whatever encoding."""
    if isinstance(item, Tag) and item.number == 4:
        pair = item.value
        if not isinstance(pair, list) or len(pair) != 2 or not is_int(pair[0]) or abs(pair[0]) > 64:
            raise CborError("not a decimal fraction")
        mantissa = whole(pair[1])
        if mantissa is not None:
            number = of_parts(mantissa, pair[0])
            integer = int(number) if pair[0] > 0 else 0
            if (integer if integer >= 0 else -1 - integer).bit_length() > 8 * 64:
                raise CborError("more than 64 bytes of digits")
            return number
    integer = whole(item)
    if integer is None:
        raise CborError("not a number")
    return Decimal(integer)


def fields(item: Any, rules: Mapping[int, Callable[[Any], Any]], optional: tuple[int, ...] = ()) -> dict[int, Any]:
    """A map's entries by integer key: every key known and of its form, none missing but the optional ones."""
    if not isinstance(item, Map):
        raise CborError("not a map")
    found: dict[int, Any] = {}
    for key, value in item:
        if not is_uint(key):
            raise CborError(f"key {key!r}")
        if key not in rules:
            raise CborError(f"unknown key {key}")
        if not rules[key](value):
            raise CborError(f"key {key} has another form")
        found[key] = value
    missing = [key for key in rules if key not in found and key not in optional]
    if missing:
        raise CborError(f"key {missing[0]} is missing")
    return found
