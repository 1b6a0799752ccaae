"""Sections 9 and 10: accounts, commands and replies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from outsider import cbor, envelope
from outsider.cbor import CborError, is_i64, is_uint
from outsider.envelope import COMMAND, REPLY, Header
from outsider.keys import Key

Ranges = list[list[int]]


@dataclass(frozen=True)
class Account:
    """What the operator attests of a day."""

    thing: str
    day: str
    block: int | None
    first: int
    count: int
    root: bytes
    digest: bytes
    healed: Ranges
    missing: Ranges

    def encode(self) -> bytes:
        """Its one encoding."""
        parts = [1, self.thing, self.day, self.block, self.first, self.count, self.root, self.digest]
        return cbor.encode(dict(enumerate([*parts, self.healed, self.missing])))


def is_ranges(item: Any) -> bool:
    """Whether an item is of the rule `ranges`, ascending and disjoint."""
    if not isinstance(item, list):
        return False
    after = 0
    for pair in item:
        if not isinstance(pair, list) or len(pair) != 2 or not all(is_uint(number) for number in pair):
            return False
        if pair[0] < after or pair[0] > pair[1]:
            return False
        after = pair[1] + 1
    return True


def is_bytes(size: int) -> Any:
    """A check for byte strings of this size."""
    return lambda item: isinstance(item, bytes) and len(item) == size


def _is_text(item: Any) -> bool:
    return isinstance(item, str)


def read_account(data: bytes) -> Account:
    """Reads an account; raises `CborError`."""
    rules = {
        0: lambda item: item == 1,
        **dict.fromkeys((1, 2), _is_text),
        3: lambda item: item is None or is_uint(item),
        **dict.fromkeys((4, 5), is_uint),
        **dict.fromkeys((6, 7), is_bytes(32)),
        **dict.fromkeys((8, 9), is_ranges),
    }
    found = cbor.fields(cbor.decode(data), rules)
    account = Account(*(found[key] for key in range(1, 10)))
    if account.encode() != data:
        raise CborError("not the account's one encoding")
    return account


def _is_subtree(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 3 and all(is_uint(number) for number in item)


@dataclass(frozen=True)
class Command:
    """What a device is asked to do."""

    thing: str
    id: bytes
    expires: int
    action: str
    arguments: Any

    def seal(self, number: int, key_id: str, key: Key) -> bytes:
        """Signs it with the command key."""
        payload = {0: 1, 1: self.thing, 2: self.id, 3: self.expires, 4: self.action, 5: self.arguments}
        return envelope.seal(Header(key_id, number, "vitro-command", COMMAND), cbor.encode(payload), key)


def read_command(payload: bytes) -> Command:
    """Reads a command's payload; raises `CborError`."""
    rules = {
        0: lambda item: is_uint(item) and item == 1,
        1: _is_text,
        2: is_bytes(16),
        3: is_i64,
        4: _is_text,
        5: lambda _: True,
    }
    found = cbor.fields(cbor.decode(payload), rules)
    if found[4] == "backfill" and not is_ranges(found[5]):
        raise CborError("ranges")
    if found[4] == "subtree" and not _is_subtree(found[5]):
        raise CborError("a subtree's run and level")
    return Command(*(found[key] for key in range(1, 6)))


@dataclass(frozen=True)
class Reply:
    """A device's answer."""

    command: bytes
    status: int
    result: Any = None

    def seal(self, number: int, thing: str, key: Key) -> bytes:
        """Signs it with the device's key."""
        payload: dict[int, Any] = {0: 1, 1: self.command, 2: self.status}
        if self.result is not None:
            payload[3] = self.result
        return envelope.seal(Header(thing, number, "vitro-reply", REPLY), cbor.encode(payload), key)


def read_reply(payload: bytes) -> Reply:
    """Reads a reply's payload; raises `CborError`."""
    rules = {0: lambda item: is_uint(item) and item == 1, 1: is_bytes(16), 2: is_uint, 3: lambda _: True}
    found = cbor.fields(cbor.decode(payload), rules, optional=(3,))
    return Reply(found[1], found[2], found.get(3))
