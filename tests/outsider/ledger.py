"""Records of the ledger (`docs/contract.md`, "Records"), written from what they say."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from outsider import cbor, merkle

Writer = Callable[[Any], Any]

ROLES = ("operator", "rc", "dv", "sp")
PERIODS = ("days", "day", "month")
REASONS = ("operator", "equivocation", "signature_failures", "certificate_revoked", "issuer_revoked", "exchanged")
UNBILLED = (
    "not_published",
    "no_block",
    "differs",
    "not_approved",
    "hole_before",
    "broken",
    "no_sensor",
    "other_sensor",
    "no_device",
    "beyond_last_good",
    "before_service",
    "out_of_range",
)


def same(value: Any) -> Any:
    """Text, integers and booleans as they are."""
    return value


def raw(value: str) -> bytes:
    """Bytes that JSON has in hexadecimal."""
    return bytes.fromhex(value)


def num(value: str) -> cbor.Num:
    """An exact decimal."""
    return cbor.Num(Decimal(value))


def word(words: tuple[str, ...]) -> Writer:
    """A word by its number."""
    return words.index


def optional(writer: Writer) -> Writer:
    """Null, or something."""
    return lambda value: None if value is None else writer(value)


def many(writer: Writer) -> Writer:
    """A list."""
    return lambda values: [writer(value) for value in values]


@dataclass(frozen=True)
class Record:
    """A map from integers in their order; with a version under key 0, if it has one."""

    fields: tuple[tuple[int, str, Writer], ...]
    version: int | None = 1
    # What version 2 has besides. A record that says nothing there is of version 1.
    since: tuple[tuple[int, str, Writer], ...] = ()

    def __call__(self, value: dict[str, Any]) -> dict[int, Any]:
        """The map that says this."""
        new = [name for _, name, _ in self.since if value.get(name)]
        known = {name for _, name, _ in self.fields + self.since}
        assert set(value) <= known, f"unknown: {set(value) - known}"
        version = self.version if self.version is None or not new else self.version + 1
        written: dict[int, Any] = {} if version is None else {0: version}
        written |= {key: writer(value[name]) for key, name, writer in self.fields}
        if new:
            empty: dict[str, Any] = {"authorities": [], "corrections": [], "alone": False, "waiting": 0}
            written |= {key: writer(value.get(name, empty[name])) for key, name, writer in self.since}
        return written


def part(*fields: tuple[int, str, Writer]) -> Record:
    """A map within a record, which has no version of its own."""
    return Record(fields, version=None)


def tariff(value: dict[str, Any]) -> list[Any]:
    """A tagged union: so far, a price for each unit."""
    assert value["kind"] == "per_unit"
    content = {name: what for name, what in value.items() if name != "kind"}
    return [0, part((0, "sensor", same), (1, "unit", same), (2, "price", num))(content)]


def table(value: dict[str, Any]) -> list[Any]:
    """A sensor table: its version, and a list for each sensor."""
    sensors = []
    for sensor in value["sensors"]:
        counter = sensor["kind"] == "counter"
        width = optional(num)(sensor.get("width"))
        sensors.append([sensor["name"], sensor["unit"], int(counter), width, sensor.get("resets_normal", False)])
    return [value["version"], sensors]


ROLE = word(ROLES)
CURRENCY = part((0, "code", same), (1, "digits", same))
AGREEMENT = Record(
    (
        (1, "id", same),
        (2, "shard", same),
        (3, "points", optional(many(same))),
        (4, "fields", many(part((0, "sensor", same), (1, "unit", same)))),
        (5, "tariff", tariff),
        (6, "currency", CURRENCY),
        (7, "term", part((0, "period", word(PERIODS)), (1, "from", same), (2, "to", optional(same)))),
        (8, "payer", ROLE),
        (9, "payees", many(part((0, "role", ROLE), (1, "share", same)))),
    ),
    since=((10, "authorities", many(raw)),),
)
LINE = part(
    (0, "point", same),
    (1, "thing", same),
    (2, "day", same),
    (3, "block", same),
    (4, "hash", raw),
    (5, "tx", same),
    (6, "account_tx", same),
    (7, "sensor", same),
    (8, "unit", same),
    (9, "opening", optional(num)),
    (10, "closing", optional(num)),
    (11, "quantity", num),
    (12, "amount", num),
)
CORRECTION = part(
    (0, "point", same),
    (1, "thing", same),
    (2, "day", same),
    (3, "corrects", raw),
    (4, "terms", raw),
    (5, "before", optional(part((0, "quantity", num), (1, "amount", num)))),
    (6, "line", optional(LINE)),
    (7, "reason", optional(word(UNBILLED))),
    (8, "quantity", num),
    (9, "amount", num),
)
LEFT = part(
    (0, "point", same),
    (1, "thing", optional(same)),
    (2, "from", same),
    (3, "to", same),
    (4, "reason", word(UNBILLED)),
)

RECORDS: dict[str, Writer] = {
    "roles": Record(tuple((1 + at, role, same) for at, role in enumerate(ROLES))),
    "device-entry": Record(
        (
            (1, "thing", same),
            (2, "public_key", raw),
            (3, "metering_point", same),
            (4, "zone", same),
            (5, "shard", same),
            (6, "tables", many(table)),
            (7, "certificate", raw),
        )
    ),
    "device-approvals": many(part((0, "thing", same), (1, "entry", raw))),
    "agreement": AGREEMENT,
    "amendment": Record(((1, "replaces", raw), (2, "terms", AGREEMENT))),
    "termination": Record(((1, "agreement", same), (2, "ends", raw), (3, "last", same))),
    "halt": Record(((1, "at", same), (2, "last_good", optional(same)), (3, "reason", word(REASONS)))),
    "exchange": Record(
        (
            (1, "old", same),
            (2, "new", same),
            (3, "day", same),
            (4, "at", same),
            (5, "last_good", optional(same)),
            (6, "first", same),
        )
    ),
    "sign-of-life": Record(
        (
            (1, "thing", same),
            (2, "alive", same),
            (3, "number", optional(same)),
            (4, "heard", optional(same)),
            (5, "values", many(part((0, "sensor", same), (1, "unit", same), (2, "value", optional(num))))),
        )
    ),
    "alive": Record(((1, "shard", same), (2, "hour", same), (3, "root", raw), (4, "alive", same), (5, "silent", same))),
    "path": Record(((1, "siblings", many(raw)),)),
    "statement": Record(
        (
            (1, "agreement", same),
            (2, "agreement_hash", raw),
            (3, "from", same),
            (4, "to", same),
            (5, "currency", CURRENCY),
            (6, "lines", many(LINE)),
            (7, "unbilled", many(LEFT)),
            (8, "quantity", num),
            (9, "exact", num),
            (10, "total", same),
            (11, "payer", ROLE),
            (12, "shares", many(part((0, "role", ROLE), (1, "amount", same)))),
        ),
        since=((13, "corrections", many(CORRECTION)), (14, "alone", same), (15, "waiting", same)),
    ),
}


def write(record: str, value: Any) -> bytes:
    """A record's bytes: what is hashed, approved and cited."""
    return cbor.encode(RECORDS[record](value))


def alive_root(signs: list[Any]) -> bytes:
    """The root over what the operator knew of a shard's devices."""
    return merkle.root([hashlib.sha256(b"\x00" + write("sign-of-life", sign)).digest() for sign in signs])


def check_sums(statement: dict[str, Any]) -> None:
    """What a statement comes to is what its lines and corrections say."""
    corrections = statement.get("corrections", [])
    for name, total in (("quantity", "quantity"), ("amount", "exact")):
        parts = [Decimal(line[name]) for line in statement["lines"] + corrections]
        assert sum(parts, Decimal(0)) == Decimal(statement[total]), name
    for one in corrections:
        before, line = one["before"] or {}, one["line"] or {}
        for name in ("quantity", "amount"):
            assert Decimal(line.get(name, 0)) - Decimal(before.get(name, 0)) == Decimal(one[name]), name
    # Whole minor units, a half away from zero.
    exact = Decimal(statement["exact"]).scaleb(statement["currency"]["digits"])
    assert statement["total"] == int(exact.quantize(Decimal(1), rounding="ROUND_HALF_UP"))
    assert sum(share["amount"] for share in statement["shares"]) == statement["total"]
