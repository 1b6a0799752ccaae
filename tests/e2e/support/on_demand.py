"""A day that was asked for before it ended, played by an implementation of another origin."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from e2e.support.devices import TABLE, ZONE, Device, increase_of
from e2e.support.programs import VITRO, run
from outsider import block, parse, senml
from stack import Installation


@dataclass(frozen=True)
class AskedDay:
    """A device's first day, of which the first half was sealed on demand: block 0 is interim, block 1 the whole day."""

    envelopes: list[bytes]
    interim: bytes
    whole: bytes
    increase: Decimal


def asked_day(device: Device, day: str, count: int, seed: str) -> AskedDay:
    """Plays such a day."""
    rehearsal = Device(device.installation, device.thing, device.folder)
    envelopes, _, _ = rehearsal.day(day, count, seed)
    start, end = block.bounds(day, ZONE)
    table = senml.Table.from_json(TABLE)

    def seal(part: list[bytes], until: int, interim: bool) -> bytes:
        opened = [parse(data) for data in part]
        described = block.Day(device.thing, day, ZONE, (start, until), opened, table)
        number, salt = len(device.chain), secrets.token_bytes(16)
        message = block.make(described, number, device.chain, salt, device.key, interim=interim)
        device.chain.append(block.open_message(message, device.thing, device.key.public))
        return message

    half = seal(envelopes[: count // 2], (start + end) // 2, True)
    whole = seal(envelopes, end, False)
    return AskedDay(envelopes, half, whole, increase_of(device.chain[-1]))


def on_ledger(installation: Installation, thing: str, number: int) -> dict[str, Any] | None:
    """What the ledger says of the proof that a block holds the device's first reading; nothing if there is no such block."""
    done = run(installation, VITRO, "proof", "reading", thing, "0", "--block", str(number), "--json")
    return json.loads(done.stdout) if done.returncode == 0 else None
