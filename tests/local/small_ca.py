"""A Fabric CA's REST API as far as enrolment needs it, for an organization of the development ledger.

It answers in the form of `fabric-ca-server` 1.5 (`tools/vitro/src/fabric_ca/recorded.json`), over TLS, with the organization's own CA key.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class SmallCa:
    """A CA that knows some identities, each with a secret that is good once, and its type."""

    def __init__(self, organization: Path, identities: dict[str, tuple[str, str]]) -> None:
        self.certificate = x509.load_pem_x509_certificate((organization / "ca.cert.pem").read_bytes())
        key = serialization.load_pem_private_key((organization / "ca.key.pem").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self.key = key
        self.identities = identities
        self.used: set[str] = set()
        self.days = 365.0
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(organization / "tls.cert.pem", organization / "tls.key.pem")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self.server.server_port}"

    def stop(self) -> None:
        """Listens no more."""
        self.server.shutdown()
        self.server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answer: Callable[..., tuple[int, dict[str, Any]]] = self._answer

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status, told = answer(self.path, self.headers["authorization"], body)
                data = json.dumps(told).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def _answer(self, path: str, authorization: str, body: bytes) -> tuple[int, dict[str, Any]]:
        name = self._caller(path, authorization, body)
        if name is None:
            errors = [{"code": 20, "message": "Authentication failure"}]
            return 401, {"result": "", "errors": errors, "messages": [], "success": False}
        chain = self.certificate.public_bytes(serialization.Encoding.PEM)
        result = {
            "Cert": base64.b64encode(self._issue(name, json.loads(body)["certificate_request"])).decode(),
            "ServerInfo": {"CAName": "ca", "CAChain": base64.b64encode(chain).decode(), "Version": "1.5.21"},
        }
        return 201, {"result": result, "errors": [], "messages": [], "success": True}

    def _caller(self, path: str, authorization: str, body: bytes) -> str | None:
        if path == "/api/v1/enroll" and authorization.startswith("Basic "):
            name, _, secret = base64.b64decode(authorization[6:]).decode().partition(":")
            if self.identities.get(name, ("", ""))[0] != secret or name in self.used:
                return None
            self.used.add(name)
            return name
        certificate, _, signature = authorization.partition(".")
        found = x509.load_pem_x509_certificate(base64.b64decode(certificate))
        parts = ["POST", *(base64.b64encode(part).decode() for part in (path.encode(), body)), certificate]
        try:
            found.verify_directly_issued_by(self.certificate)
            key = found.public_key()
            assert isinstance(key, ec.EllipticCurvePublicKey)
            key.verify(base64.b64decode(signature), ".".join(parts).encode(), ec.ECDSA(hashes.SHA256()))
        except (InvalidSignature, ValueError):
            return None
        (common_name,) = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(common_name.value)

    def _issue(self, name: str, request: str) -> bytes:
        asked = x509.load_pem_x509_csr(request.encode())
        assert asked.is_signature_valid
        unit = x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, self.identities[name][1])
        now = dt.datetime.now(dt.UTC)
        usage = dict.fromkeys(("key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign"), False)
        usage |= dict.fromkeys(("content_commitment", "crl_sign", "encipher_only", "decipher_only"), False)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([unit, x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self.certificate.subject)
            .public_key(asked.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=5))
            .not_valid_after(now + dt.timedelta(days=self.days))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(digital_signature=True, **usage), critical=True)
        )
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
