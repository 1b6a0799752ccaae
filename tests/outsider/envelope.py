"""Section 3: envelopes, and section 4's leaf and hash."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar

import cbor2
from pycose.algorithms import Es256
from pycose.headers import KID, Algorithm, ContentType, CoseHeaderAttribute
from pycose.messages.sign1message import Sign1Message

from outsider import cbor
from outsider.cbor import Map
from outsider.faults import Refused
from outsider.keys import Key, verifies

MAX_BYTES = 131_072
STEP = 5120
SENML, ENCRYPTED = 112, 96
BLOCK = "application/vitro-block+cbor"
COMMAND = "application/vitro-command+cbor"
REPLY = "application/vitro-reply+cbor"
CONTENTS: dict[str, tuple[int | str, ...]] = {
    "vitro-telemetry": (SENML, ENCRYPTED),
    "vitro-block": (BLOCK,),
    "vitro-command": (COMMAND,),
    "vitro-reply": (REPLY,),
}
NUMBER = -65537


@CoseHeaderAttribute.register_attribute()
class Typ(CoseHeaderAttribute):
    """RFC 9596."""

    identifier: ClassVar[int] = 16
    fullname: ClassVar[str] = "TYP"


@CoseHeaderAttribute.register_attribute()
class Number(CoseHeaderAttribute):
    """Vitro's number within the kind."""

    identifier: ClassVar[int] = NUMBER
    fullname: ClassVar[str] = "VITRO_NUMBER"


@dataclass(frozen=True)
class Header:
    """The protected header but for the algorithm."""

    kid: str
    number: int
    typ: str = "vitro-telemetry"
    content: int | str = SENML


@dataclass(frozen=True)
class Envelope:
    """An envelope of a good form; its signature may be bad."""

    data: bytes
    protected: bytes
    payload: bytes
    signature: bytes
    header: Header

    @property
    def sig_structure(self) -> bytes:
        """What is signed."""
        return cbor2.dumps(["Signature1", self.protected, b"", self.payload])

    @property
    def leaf(self) -> bytes:
        """Its place in the Merkle tree."""
        return hashlib.sha256(b"\0" + self.sig_structure).digest()

    @property
    def hash(self) -> bytes:
        """What the next block names."""
        return hashlib.sha256(self.sig_structure).digest()

    @property
    def units(self) -> int:
        """Metered units."""
        return -(-len(self.data) // STEP)

    def verifies(self, public: bytes) -> bool:
        """Whether the signature is good under this key."""
        return verifies(public, self.sig_structure, self.signature)


def seal(header: Header, payload: bytes, key: Key) -> bytes:
    """Signs a payload, by pycose."""
    message = Sign1Message(
        phdr={
            Algorithm: Es256,
            ContentType: header.content,
            KID: header.kid.encode(),
            Typ: header.typ,
            Number: header.number,
        },
        payload=payload,
        key=key.cose(),
    )
    data: bytes = message.encode()
    return data


def seal_raw(protected: bytes, payload: bytes, key: Key) -> bytes:
    """Signs any protected bytes, by pycose."""
    message = Sign1Message(phdr={Algorithm: Es256}, payload=payload, key=key.cose())
    message._phdr_encoded = protected  # pycose has no public way to say how a header is written
    data: bytes = message.encode()
    return data


def parse(data: bytes) -> Envelope:
    """Takes an envelope apart; raises `Refused` with the code of the first fault."""
    if len(data) > MAX_BYTES:
        raise Refused("too_large")
    if data[:1] != b"\xd2":
        raise Refused("not_an_envelope", "no tag 18")
    try:
        parts = cbor.decode(data).value
    except cbor.TrailingError as error:
        raise Refused("trailing_bytes") from error
    except cbor.CborError as error:
        raise Refused("not_an_envelope", str(error)) from error
    if not isinstance(parts, list) or len(parts) != 4:
        raise Refused("not_an_envelope", "no array of four")
    protected, unprotected, payload, signature = parts
    if not isinstance(protected, bytes) or not isinstance(unprotected, Map):
        raise Refused("not_an_envelope", "headers")
    if len(unprotected):
        raise Refused("unknown_header", "unprotected")
    if not isinstance(payload, bytes) or not isinstance(signature, bytes) or len(signature) != 64:
        raise Refused("not_an_envelope", "payload or signature")
    return Envelope(data, protected, payload, signature, _header(protected))


def _header(protected: bytes) -> Header:
    try:
        entries = cbor.decode(protected)
    except cbor.CborError as error:
        raise Refused("not_an_envelope", f"protected header: {error}") from error
    if not isinstance(entries, Map):
        raise Refused("not_an_envelope", "protected header is no map")
    known: dict[int, Any] = {}
    for label, value in entries:
        if not cbor.is_i64(label) or label not in (1, 3, 4, 16, NUMBER):
            raise Refused("unknown_header", repr(label))
        _check(label, value)
        known[label] = value
    if known.get(1) != -7:
        raise Refused("wrong_algorithm")
    if 16 not in known:
        raise Refused("wrong_kind")
    if known.get(3) not in CONTENTS[known[16]]:
        raise Refused("bad_content_type")
    if 4 not in known or NUMBER not in known:
        raise Refused("unknown_header", "kid or number is missing")
    return Header(known[4].decode(), known[NUMBER], known[16], known[3])


def _check(label: int, value: Any) -> None:
    if label == 1 and not cbor.is_int(value):
        raise Refused("wrong_algorithm")
    if label == 3 and not (
        (cbor.is_int(value) and value in (SENML, ENCRYPTED))
        or (isinstance(value, str) and value in (BLOCK, COMMAND, REPLY))
    ):
        raise Refused("bad_content_type")
    if label == 4:
        if not isinstance(value, bytes):
            raise Refused("unknown_header", "kid")
        try:
            value.decode()
        except UnicodeDecodeError:
            raise Refused("unknown_header", "kid") from None
    if label == 16 and not (isinstance(value, str) and value in CONTENTS):
        raise Refused("wrong_kind")
    if label == NUMBER and not cbor.is_uint(value):
        raise Refused("unknown_header", "number")
