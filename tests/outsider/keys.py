"""Keys of P-256: from a device's folder, or the test vectors."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from pycose.keys.curves import P256
from pycose.keys.ec2 import EC2Key


class Key:
    """A private key."""

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        if not isinstance(private.curve, ec.SECP256R1):
            raise ValueError("not a key of P-256")
        self._private = private

    @classmethod
    def from_scalar(cls, scalar: bytes) -> Key:
        """The key of a private scalar."""
        return cls(ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1()))

    @classmethod
    def test(cls, name: str) -> Key:
        """A test key of `tests/vectors/keys.json`."""
        return cls.from_scalar(hashlib.sha256(b"vitro test key " + name.encode()).digest())

    @classmethod
    def from_pem(cls, path: Path) -> Key:
        """The key in a PEM file, such as `key.pem` of a device's folder."""
        private = serialization.load_pem_private_key(path.read_bytes(), None)
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{path} holds no key of an elliptic curve")
        return cls(private)

    @classmethod
    def generate(cls) -> Key:
        """A fresh key."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @property
    def public(self) -> bytes:
        """The public key as an uncompressed point."""
        return self._private.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )

    def agree(self, point: bytes) -> bytes:
        """ECDH with an uncompressed point; `ValueError` if it is none of the curve."""
        other = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        return self._private.exchange(ec.ECDH(), other)

    def cose(self) -> EC2Key:
        """The same for pycose."""
        point, numbers = self.public, self._private.private_numbers()
        return EC2Key(crv=P256, x=point[1:33], y=point[33:], d=numbers.private_value.to_bytes(32, "big"))


def verifies(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether an ES256 signature is good under a public key, an uncompressed point."""
    if len(signature) != 64 or len(public) != 65 or public[0] != 4:
        return False
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)
    except ValueError:
        return False
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    try:
        key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True
