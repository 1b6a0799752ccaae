"""Makes `tests/vectors/outsider.json`: what this implementation writes, for the product to read."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import cbor2

from outsider import block, cbor, confidential, envelope, merkle, senml
from outsider.block import Block, Day
from outsider.envelope import Envelope, Header
from outsider.faults import Refused
from outsider.keys import Key
from outsider.messages import Command, Reply
from outsider.senml import Reading, Sensor, Table

FOLDER = Path(__file__).parents[1] / "vectors"
THING = "outsider-1"
KEY = Key.test("outsider-1")
START = 1_767_225_600  # 2026-01-01T00:00:00Z
TABLE_JSON: dict[str, Any] = {
    "version": 7,
    "sensors": [
        {"name": "gas", "unit": "m3", "kind": "counter"},
        {"name": "heat", "unit": "kWh", "kind": "counter", "width": "10000", "resets_normal": True},
        {"name": "power", "unit": "kW", "kind": "gauge"},
    ],
}
TABLE = Table.from_json(TABLE_JSON)


def _int(value: int, size: int) -> bytes:
    """An integer with a head of 1 + size bytes, longer than it needs."""
    major, argument = (0, value) if value >= 0 else (1, -1 - value)
    return bytes([major << 5 | {1: 24, 2: 25, 4: 26, 8: 27}[size]]) + argument.to_bytes(size, "big")


def _packs() -> list[tuple[str, bytes]]:
    base = {-2: f"{THING}/", -3: START}
    tag = cbor2.CBORTag
    shuffled = {2: 5, 1: "kW", 0: "power", -3: START, -2: f"{THING}/"}
    wide = b"\x81\xb8\x05" + b"".join(
        [
            _int(-2, 1) + cbor2.dumps(f"{THING}/"),
            _int(-3, 2) + _int(START, 8),
            _int(0, 4) + b"\x79\x00\x05power",
            _int(1, 8) + cbor2.dumps("kW"),
            _int(2, 1) + b"\xd8\x04\x98\x02" + _int(-2, 8) + _int(1234, 4),
        ]
    )
    return [
        ("maps in another order", cbor2.dumps([shuffled])),
        ("canonical of RFC 7049", cbor2.dumps([shuffled], canonical=True)),
        ("integers and heads wider than needed", wide),
        ("cbor2's own decimal", cbor2.dumps([base | {0: "heat", 1: "kWh", 2: Decimal("12.50")}])),
        ("decimal with an exponent of 12", cbor2.dumps([base | {0: "heat", 1: "kWh", 2: tag(4, [12, -7])}])),
        ("a double", cbor2.dumps([base | {0: "power", 1: "kW", 2: 0.1}])),
        ("a double that canonical CBOR shortens", cbor2.dumps([base | {0: "power", 1: "kW", 2: 1.5}], canonical=True)),
        ("a time in doubles", cbor2.dumps([{-2: f"{THING}/", -3: START + 0.5, 0: "power", 1: "kW", 2: 1, 6: 0.125}])),
        ("a bignum", cbor2.dumps([base | {0: "gas", 1: "m3", 2: 2**70}])),
        ("NaN", cbor2.dumps([base | {0: "power", 1: "kW", 2: float("nan")}])),
        ("base unit and base value", cbor2.dumps([base | {-4: "kW", -5: 1}, {0: "power", 2: 1}, {0: "power", 6: 1}])),
        ("whole names", cbor2.dumps([{0: f"{THING}/gas", 1: "m3", 2: 1, 6: START}, {0: "gas", 2: 1, 6: START}])),
        ("indefinite lengths", b"\x9f\xa0\xff"),
        ("two values", cbor2.dumps([base | {0: "power", 1: "kW", 2: 1, 4: True}])),
    ]


def _value(value: object) -> object:
    return {"number": _plain(value)} if isinstance(value, Decimal) else "missing" if value is None else value


def _plain(value: Decimal) -> str:
    mantissa, exponent = cbor.parts(value)
    return f"{cbor.of_parts(mantissa, exponent):f}"


def _records(payload: bytes) -> object:
    try:
        records = senml.read(payload, THING)
    except Refused as fault:
        return fault.code
    return [
        {"fault": record.code}
        if isinstance(record, senml.Fault)
        else {"sensor": record.sensor, "unit": record.unit, "time": record.millis, "value": _value(record.value)}
        for record in records
    ]


def _describe(name: str, data: bytes) -> dict[str, Any]:
    opened = envelope.parse(data)
    facts = {"name": name, "envelope": data.hex(), "number": opened.header.number, "leaf": opened.leaf.hex()}
    return facts | {"codes": sorted(senml.codes(opened.payload, THING, TABLE)), "records": _records(opened.payload)}


def _envelopes() -> list[dict[str, Any]]:
    made = [
        _describe(name, envelope.seal(Header(THING, number), pack, KEY)) for number, (name, pack) in enumerate(_packs())
    ]
    pack = senml.write(THING, START * 1000, [Reading("gas", "m3", Decimal("1.5"))])
    shuffled = cbor2.dumps({-65537: 99, 16: "vitro-telemetry", 4: THING.encode(), 3: 112, 1: -7})
    made.append(_describe("a header in another order", envelope.seal_raw(shuffled, pack, KEY)))
    wide = b"\xb9\x00\x05" + b"".join(
        [
            _int(1, 8) + _int(-7, 4),
            _int(3, 1) + _int(112, 8),
            _int(4, 2) + b"\x5b" + len(THING).to_bytes(8, "big") + THING.encode(),
            _int(16, 1) + b"\x78\x0fvitro-telemetry",
            _int(-65537, 8) + _int(100, 8),
        ]
    )
    made.append(_describe("a header of wide heads", envelope.seal_raw(wide, pack, KEY)))
    return made


def random_day(seed: int, start: int, first: int, count: int, opening: Decimal = Decimal("9000")) -> list[Envelope]:
    """A day of random increments, resets, rollovers, decreases, gaps, repeated times, missing and odd records."""
    rng = random.Random(seed)
    heat, gas = opening, Decimal(rng.randrange(1000)) / 8
    made: list[Envelope] = []
    time, stride = start * 1000, 86_400_000 // max(count, 1)
    for number in range(first, first + count):
        time += rng.choice([0, 1, 999, stride, stride, stride, 2 * stride])
        heat = next_value(rng, heat, Decimal(10_000))
        gas += Decimal(rng.randrange(-3, 40)) / 8
        readings = [
            Reading("heat", "kWh", None if rng.random() < 0.05 else heat),
            Reading("gas", "m3", float(gas) if rng.random() < 0.2 else gas),
            Reading("power", rng.choice(["kW"] * 12 + ["W"]), Decimal(rng.randrange(-(10**6), 10**6)).scaleb(-3)),
        ]
        rng.shuffle(readings)
        at = time if rng.random() > 0.03 else time - rng.randrange(3_600_000)
        data = envelope.seal(Header(THING, number), senml.write(THING, at, readings[: rng.randrange(1, 4)]), KEY)
        made.append(envelope.parse(data))
    return made


def day_of_rows(sensor: Sensor, rows: Iterable[tuple[int, Decimal | None]]) -> list[Envelope]:
    """An envelope a row of a recording: Unix seconds, and a value or None where it is missing."""
    made: list[Envelope] = []
    for number, (seconds, value) in enumerate(rows):
        pack = senml.write(THING, seconds * 1000, [Reading(sensor.name, sensor.unit, value)])
        made.append(envelope.parse(envelope.seal(Header(THING, number), pack, KEY)))
    return made


def next_value(rng: random.Random, value: Decimal, width: Decimal) -> Decimal:
    """What a register shows next: mostly more, now and then less."""
    dice = rng.random()
    if dice < 0.03:
        return Decimal(rng.randrange(100)) / 10  # a reset, or a rollover where the register is full enough
    if dice < 0.05:
        return max(Decimal(0), value - Decimal(rng.randrange(50)))
    return (value + Decimal(rng.randrange(2000)) / 16) % width


def _chain() -> list[dict[str, Any]]:
    chain: list[Block] = []
    made: list[dict[str, Any]] = []
    first = 0
    for at, (day, count) in enumerate([("2026-03-28", 40), ("2026-03-29", 60), ("2026-03-30", 0)]):
        interval = block.bounds(day, "Europe/Warsaw")
        envelopes = random_day(at, interval[0], first, count)
        first += count
        salt = bytes([at]) * 16
        message = block.make(Day(THING, day, "Europe/Warsaw", interval, envelopes, TABLE), at, chain, salt, KEY)
        opened = block.open_message(message, THING, KEY.public)
        block.follows(opened, chain)
        chain.append(opened)
        made.append(
            {
                "day": day,
                "hash": opened.hash.hex(),
                "root": merkle.root([one.leaf for one in envelopes]).hex(),
                "message": message.hex(),
                "envelopes": [one.data.hex() for one in envelopes],
            }
        )
    return made


def _messages() -> dict[str, Any]:
    command = Command(THING, bytes(range(16)), START + 3600, "backfill", [[0, 3], [4, 4], [9, 2**64 - 1]])
    later = Command(THING, bytes(16), START, "seal", {"why": [1.5, None]})
    reply, odd = Reply(bytes(range(16)), 0, 7), Reply(bytes(16), 9, ["something", {1: 2}])
    return {
        "commands": [
            {"envelope": command.seal(0, "command-1", Key.test("command-1")).hex(), "backfill": command.arguments},
            {"envelope": later.seal(1, "command-1", Key.test("command-1")).hex(), "action": "seal"},
        ],
        "replies": [
            {"envelope": reply.seal(0, THING, KEY).hex(), "status": 0, "result": 7},
            {"envelope": odd.seal(1, THING, KEY).hex(), "status": 9, "result": None},
        ],
    }


def _confidential() -> dict[str, Any]:
    proxy = Key.test("data-proxy-3")
    name = hashlib.sha256(proxy.public).hexdigest()[:16]
    pack = senml.write(THING, START * 1000, [Reading("gas", "m3", Decimal("1.5"))])
    opening = cbor2.dumps([bytes(16), b"\x80"])
    made = []
    for at, (inside, clear) in enumerate(
        [(confidential.PACK, pack), (confidential.OPENING, opening), (confidential.PACK, b"")]
    ):
        once = (Key.test(f"ephemeral outsider {at}"), bytes([at]) * 12)
        data = confidential.seal(THING, at, clear, (name, proxy.public), inside, once)
        sealed = confidential.parse(data)
        made.append(
            {
                "name": f"pycose {at}",
                "thing": THING,
                "number": at,
                "inside": "pack" if inside == confidential.PACK else "opening",
                "clear": clear.hex(),
                "external_data": confidential.external_data(THING, at).hex(),
                "kdf_context": sealed.kdf_context.hex(),
                "enc_structure": sealed.enc_structure(THING, at).hex(),
                "sealed": data.hex(),
            }
        )
    private = hashlib.sha256(b"vitro test key data-proxy-3").hexdigest()
    return {"key": {"id": name, "private": private, "public": proxy.public.hex()}, "vectors": made}


def make() -> dict[str, Any]:
    """The file's content."""
    return {
        "about": "Made by tests/outsider with pycose and cbor2: 'python -m outsider vectors'.",
        "thing": THING,
        "public": KEY.public.hex(),
        "table": TABLE_JSON,
        "zone": "Europe/Warsaw",
        "envelopes": _envelopes(),
        "chain": _chain(),
        "confidential": _confidential(),
        **_messages(),
    }


def write() -> None:
    """Writes the file."""
    (FOLDER / "outsider.json").write_text(json.dumps(make(), indent=2, sort_keys=True) + "\n", encoding="utf-8")
