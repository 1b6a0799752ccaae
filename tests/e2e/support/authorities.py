"""Authorities of another origin: chains of P-256 with revocation lists, and a web server that hands the lists out."""

from __future__ import annotations

import datetime as dt
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOUR = dt.timedelta(hours=1)
DAY = dt.timedelta(days=1)
PEM = serialization.Encoding.PEM
DER = serialization.Encoding.DER


def now() -> dt.datetime:
    """Now, to the second, as certificates write it."""
    return dt.datetime.now(dt.UTC).replace(microsecond=0)


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh key of P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as PKCS 8 in PEM."""
    return key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


@dataclass
class Authority:
    """One authority, its certificate, and what it has revoked."""

    name: str
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    parent: Authority | None = None
    number: int = 1
    revoked: dict[int, x509.ReasonFlags] = field(default_factory=dict)

    @classmethod
    def root(cls, name: str) -> Authority:
        """A root with room for one authority below it."""
        key = new_key()
        return cls(name, key, _certificate(name, key.public_key(), name, key, authority=1))

    def below(self, name: str) -> Authority:
        """An authority that this one signs; it signs devices."""
        key = new_key()
        return Authority(name, key, self._sign(name, key.public_key(), authority=0), self)

    def device(
        self,
        thing: str,
        key: ec.EllipticCurvePrivateKey,
        not_before: dt.datetime | None = None,
        not_after: dt.datetime | None = None,
    ) -> x509.Certificate:
        """A device's certificate."""
        return self._sign(thing, key.public_key(), not_before=not_before, not_after=not_after)

    def proof(self, code: str) -> x509.Certificate:
        """What AWS IoT wants to see before it takes the authority."""
        return self._sign(code, new_key().public_key())

    def _sign(
        self,
        name: str,
        public: ec.EllipticCurvePublicKey,
        authority: int | None = None,
        not_before: dt.datetime | None = None,
        not_after: dt.datetime | None = None,
    ) -> x509.Certificate:
        return _certificate(name, public, self.name, self.key, authority, not_before, not_after)

    @property
    def pem(self) -> str:
        """Its certificate in PEM."""
        return self.certificate.public_bytes(PEM).decode()

    @property
    def id(self) -> str:
        """What AWS IoT calls it."""
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    def revoke(self, certificate: x509.Certificate, reason: x509.ReasonFlags = x509.ReasonFlags.key_compromise) -> None:
        """Puts a certificate on the list that comes next."""
        self.revoked[certificate.serial_number] = reason
        self.number += 1

    def crl(
        self,
        number: int | None = None,
        made: dt.datetime | None = None,
        due: dt.datetime | None = None,
        key: ec.EllipticCurvePrivateKey | None = None,
    ) -> bytes:
        """Its revocation list in DER."""
        made = made or now() - HOUR
        builder = x509.CertificateRevocationListBuilder().issuer_name(_name(self.name))
        builder = builder.last_update(made).next_update(due or now() + DAY)
        builder = builder.add_extension(x509.CRLNumber(self.number if number is None else number), critical=False)
        for serial, reason in self.revoked.items():
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(made)
            builder = builder.add_revoked_certificate(
                entry.add_extension(x509.CRLReason(reason), critical=False).build()
            )
        return builder.sign(key or self.key, hashes.SHA256()).public_bytes(DER)


def _certificate(
    name: str,
    public: ec.EllipticCurvePublicKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    authority: int | None = None,
    not_before: dt.datetime | None = None,
    not_after: dt.datetime | None = None,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before or now() - 2 * DAY)
        .not_valid_after(not_after or now() + 30 * DAY)
        .add_extension(_usage(authority=authority is not None), critical=True)
        .add_extension(x509.BasicConstraints(ca=authority is not None, path_length=authority), critical=True)
    )
    if authority is None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


class Lists:
    """A web server on loopback that hands revocation lists out by name."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}
        pages = self.pages

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = pages.get(self.path)
                self.send_response(200 if body is not None else 404)
                self.send_header("content-length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def url(self, authority: Authority) -> str:
        """Where an authority's list is."""
        return f"http://127.0.0.1:{self._server.server_port}/{authority.id}.crl"

    def put(self, authority: Authority, body: bytes | None = None) -> None:
        """Puts an authority's list, or anything else in its place."""
        self.pages[f"/{authority.id}.crl"] = authority.crl() if body is None else body

    def close(self) -> None:
        """Ends the server."""
        self._server.shutdown()
        self._server.server_close()
