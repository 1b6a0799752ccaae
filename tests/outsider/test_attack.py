"""Each attack is what it claims to be, and only that."""

from __future__ import annotations

from decimal import Decimal

import pytest

from outsider import Header, Key, attack, parse, seal, senml
from outsider.faults import Refused
from outsider.senml import Reading

DEVICE = Key.test("dev-1")
PACK = senml.write("dev-1", 1_767_225_600_000, [Reading("energy", "kWh", Decimal("1.5"))])
DATA = seal(Header("dev-1", 5), PACK, DEVICE)


def test_forged() -> None:
    spoiled = parse(attack.forged(DATA))
    assert (spoiled.header, spoiled.payload) == (parse(DATA).header, PACK)
    assert not spoiled.verifies(DEVICE.public)
    assert spoiled.leaf == parse(DATA).leaf, "the leaf alone does not tell it apart"


@pytest.mark.parametrize("bit", [0, 7, 8, 100, 10_000])
def test_flipped(bit: int) -> None:
    spoiled = parse(attack.flipped(DATA, bit))
    assert len(spoiled.data) == len(DATA)
    assert sum(a != b for a, b in zip(spoiled.data, DATA, strict=True)) == 1
    assert spoiled.signature == parse(DATA).signature
    assert not spoiled.verifies(DEVICE.public)


def test_other_device() -> None:
    own = Key.test("dev-2")
    spoiled = parse(attack.other_device(DATA, "victim", own))
    assert spoiled.header == Header("victim", 5)
    assert spoiled.verifies(own.public)


def test_equivocation() -> None:
    second = parse(attack.equivocation(DATA, DEVICE))
    assert second.header == parse(DATA).header
    assert second.verifies(DEVICE.public)
    assert second.leaf != parse(DATA).leaf
    other = senml.write("dev-1", 1_767_225_600_000, [Reading("energy", "kWh", Decimal(99))])
    assert parse(attack.equivocation(DATA, DEVICE, other)).payload == other


def test_nonsense() -> None:
    nonsense = parse(attack.nonsense("dev-1", 6, DEVICE))
    assert nonsense.verifies(DEVICE.public)
    with pytest.raises(Refused, match="unreadable_pack"):
        senml.read(nonsense.payload, "dev-1")
