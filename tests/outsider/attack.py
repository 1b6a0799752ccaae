"""What an attacker on the side sends. Each returns bytes to publish; `docs/reasons.md` says what becomes of them.

A replay needs no help: it is the same bytes again (`duplicate`).
"""

from __future__ import annotations

from outsider import envelope
from outsider.envelope import Header
from outsider.keys import Key


def forged(data: bytes, key: Key | None = None) -> bytes:
    """The same header and payload, signed with a key that is not the device's: `bad_signature`."""
    original = envelope.parse(data)
    return envelope.seal_raw(original.protected, original.payload, key or Key.generate())


def flipped(data: bytes, bit: int = 0) -> bytes:
    """One bit of the payload flipped, the signature left as it was.

    A `bad_signature`; an `altered_copy` where the original is known.
    """
    original = envelope.parse(data)
    at = data.rindex(original.payload, 0, len(data) - len(original.signature)) + bit // 8 % len(original.payload)
    changed = bytearray(data)
    changed[at] ^= 1 << bit % 8
    return bytes(changed)


def other_device(data: bytes, victim: str, key: Key) -> bytes:
    """An envelope under another device's name, well signed with the attacker's own key.

    On the attacker's own topic it is `other_device`; if it reaches the victim's, `bad_signature`.
    """
    original = envelope.parse(data)
    header = Header(victim, original.header.number, original.header.typ, original.header.content)
    return envelope.seal(header, original.payload, key)


def equivocation(data: bytes, key: Key, payload: bytes | None = None) -> bytes:
    """A second and different envelope under a used number, well signed by the device's own (cloned) key.

    That is an `equivocation`.
    """
    original = envelope.parse(data)
    second = original.payload + b"\0" if payload is None else payload
    return envelope.seal(original.header, second, key)


def nonsense(thing: str, number: int, key: Key, payload: bytes = b"\x00well-signed nonsense") -> bytes:
    """A well-signed envelope with a payload that nobody can read: stored, a leaf, flagged `unreadable_pack`."""
    return envelope.seal(Header(thing, number), payload, key)
