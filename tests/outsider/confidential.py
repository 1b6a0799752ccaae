"""Section 11: confidential telemetry. pycose encrypts; reading is strict, and decrypts by the primitives of `cryptography`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import cbor2
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pycose.algorithms import A256GCM, EcdhEsHKDF256
from pycose.headers import IV, KID, Algorithm, ContentType, EphemeralKey, StaticKey
from pycose.keys import EC2Key
from pycose.keys.curves import P256
from pycose.messages import EncMessage
from pycose.messages.context import CoseKDFContext, PartyInfo, SuppPubInfo
from pycose.messages.recipient import DirectKeyAgreement

from outsider import cbor
from outsider.cbor import CborError, Map, Tag
from outsider.faults import Refused
from outsider.keys import Key

PACK = 112
OPENING = "application/vitro-summaries+cbor"
# The recipient's protected header, {1: -25}.
RECIPIENT = cbor2.dumps({1: -25})


@dataclass(frozen=True)
class Sealed:
    """A COSE_Encrypt of the profile."""

    inside: int | str
    protected: bytes
    nonce: bytes
    ciphertext: bytes
    recipient_protected: bytes
    recipient: str
    ephemeral: bytes

    @property
    def kdf_context(self) -> bytes:
        """The info of HKDF: RFC 9053, section 5.2."""
        return cbor2.dumps([3, [None] * 3, [None] * 3, [256, self.recipient_protected]])

    def enc_structure(self, thing: str, number: int) -> bytes:
        """What is authenticated beside the ciphertext: RFC 9052, section 5.3."""
        return cbor2.dumps(["Encrypt", self.protected, external_data(thing, number)])


def external_data(thing: str, number: int) -> bytes:
    """What a ciphertext is bound to."""
    return cbor2.dumps([thing, number])


def seal(
    thing: str,
    number: int,
    clear: bytes,
    recipient: tuple[str, bytes],
    inside: int | str = PACK,
    once: tuple[Key, bytes] | None = None,
) -> bytes:
    """Encrypts for a data-proxy key, its id and its point, by pycose. `once` is an ephemeral key and a nonce."""
    ephemeral, nonce = once or (Key.generate(), os.urandom(12))
    point = ephemeral.public
    own = EC2Key(crv=P256, x=point[1:33], y=point[33:])
    agreed = DirectKeyAgreement(phdr={Algorithm: EcdhEsHKDF256}, uhdr={KID: recipient[0].encode(), EphemeralKey: own})
    agreed.key = ephemeral.cose()
    agreed.local_attrs = {StaticKey: EC2Key(crv=P256, x=recipient[1][1:33], y=recipient[1][33:])}
    agreed.context = _context(agreed.phdr)
    message = EncMessage(
        phdr={Algorithm: A256GCM, ContentType: inside},
        uhdr={IV: nonce},
        payload=clear,
        external_aad=external_data(thing, number),
        recipients=[agreed],
    )
    return bytes(message.encode())


def unseal_by_pycose(data: bytes, thing: str, number: int, key: Key) -> bytes:
    """Decrypts by pycose alone."""
    message = EncMessage.decode(data)
    (agreed,) = message.recipients
    agreed.key = key.cose()
    agreed.context = _context(agreed.phdr)
    message.external_aad = external_data(thing, number)
    return bytes(message.decrypt(agreed))


def _context(protected: dict[Any, Any]) -> CoseKDFContext:
    return CoseKDFContext(A256GCM, SuppPubInfo(256, protected), PartyInfo(), PartyInfo())


def _exactly(item: Any, *labels: int) -> dict[int, Any]:
    """A map with exactly these integer labels."""
    if not isinstance(item, Map):
        raise Refused("bad_encryption", "not a map")
    entries = list(item)
    if not all(cbor.is_int(label) for label, _ in entries) or sorted(label for label, _ in entries) != sorted(labels):
        raise Refused("bad_encryption", "other headers")
    return dict(entries)


def _ensure(is_so: bool, what: str) -> None:
    if not is_so:
        raise Refused("bad_encryption", what)


def parse(data: bytes) -> Sealed:
    """Takes a COSE_Encrypt apart; raises `Refused`."""
    try:
        item = cbor.decode(data)
        _ensure(isinstance(item, Tag) and item.number == 96, "tag")
        parts = item.value
        _ensure(isinstance(parts, list) and len(parts) == 4, "array")
        protected, unprotected, ciphertext, recipients = parts
        _ensure(isinstance(protected, bytes) and isinstance(ciphertext, bytes), "byte strings")
        nonce = _exactly(unprotected, 5)[5]
        _ensure(isinstance(nonce, bytes) and len(nonce) == 12, "nonce")
        _ensure(len(ciphertext) >= 16, "ciphertext")
        _ensure(isinstance(recipients, list) and len(recipients) == 1, "recipients")
        (recipient,) = recipients
        _ensure(isinstance(recipient, list) and len(recipient) == 3, "recipient")
        recipient_protected, recipient_unprotected, wrapped = recipient
        _ensure(isinstance(recipient_protected, bytes) and wrapped == b"", "recipient")
        _ensure(_is(_exactly(cbor.decode(recipient_protected), 1)[1], -25), "recipient's algorithm")
        header = _exactly(cbor.decode(protected), 1, 3)
        known = _is(header[3], PACK) or (isinstance(header[3], str) and header[3] == OPENING)
        _ensure(_is(header[1], 3) and known, "header")
        who = _exactly(recipient_unprotected, 4, -1)
        _ensure(isinstance(who[4], bytes), "kid")
        point = _exactly(who[-1], 1, -1, -2, -3)
        _ensure(_is(point[1], 2) and _is(point[-1], 1), "key")
        _ensure(all(isinstance(point[at], bytes) and len(point[at]) == 32 for at in (-2, -3)), "coordinates")
        kid = who[4].decode("utf-8")
    except (CborError, UnicodeDecodeError) as error:
        raise Refused("bad_encryption", str(error)) from error
    ephemeral = b"\x04" + point[-2] + point[-3]
    return Sealed(header[3], protected, nonce, ciphertext, recipient_protected, kid, ephemeral)


def _is(item: Any, number: int) -> bool:
    return cbor.is_int(item) and item == number


def shared_secret(ephemeral: bytes, key: Key) -> bytes:
    """ECDH; raises `Refused` if the point is none."""
    try:
        return key.agree(ephemeral)
    except ValueError as error:
        raise Refused("undecryptable", str(error)) from error


def content_key(secret: bytes, context: bytes) -> bytes:
    """HKDF without a salt."""
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=context).derive(secret)


def unseal(data: bytes, thing: str, number: int, keys: dict[str, Key], inside: int | str = PACK) -> bytes:
    """Decrypts; raises `Refused` with the code of `docs/reasons.md`."""
    sealed = parse(data)
    if sealed.inside != inside:
        raise Refused("bad_encryption", "something else lies inside")
    if sealed.recipient not in keys:
        raise Refused("encrypted")
    key = content_key(shared_secret(sealed.ephemeral, keys[sealed.recipient]), sealed.kdf_context)
    try:
        return AESGCM(key).decrypt(sealed.nonce, sealed.ciphertext, sealed.enc_structure(thing, number))
    except InvalidTag as error:
        raise Refused("undecryptable") from error


def conceal_block(message: bytes, thing: str, number: int, recipient: tuple[str, bytes]) -> bytes:
    """A clear block message as a confidential device sends it."""
    envelope, salt, summaries = cbor.decode(message)
    opening = seal(thing, number, cbor2.dumps([salt, summaries]), recipient, OPENING)
    return cbor2.dumps([envelope, opening])


def reveal_block(message: bytes, thing: str, number: int, keys: dict[str, Key]) -> bytes:
    """The clear message of a confidential one, whose signature was checked before."""
    envelope, opening = cbor.decode(message)
    salt, summaries = cbor.decode(unseal(opening, thing, number, keys, OPENING))
    return cbor2.dumps([envelope, salt, summaries])
