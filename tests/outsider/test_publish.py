"""The stranger's MQTT client against a listener that speaks just enough MQTT, over mutual TLS."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from outsider import parse
from outsider.publish import PublishError, publish, topic_of

NOW = datetime.datetime.now(datetime.UTC)


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, signer: ec.EllipticCurvePrivateKey, ca: bool = False
) -> x509.Certificate:
    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    builder = x509.CertificateBuilder().subject_name(named(name)).issuer_name(named(issuer))
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(NOW - datetime.timedelta(days=1))
    builder = builder.not_valid_after(NOW + datetime.timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    builder = builder.add_extension(address, False).add_extension(identifier, False).add_extension(authority, False)
    usage = x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False)
    return builder.add_extension(usage, critical=True).sign(signer, hashes.SHA256())


def _folder(folder: Path, name: str, ca_key: ec.EllipticCurvePrivateKey, ca: x509.Certificate) -> Path:
    folder.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(private)
    (folder / "cert.pem").write_bytes(_certificate(name, key, "ca", ca_key).public_bytes(pem))
    (folder / "ca.pem").write_bytes(ca.public_bytes(pem))
    return folder


class Listener:
    """Takes one connection after another; acknowledges CONNECT and PUBLISH, unless it is told not to."""

    def __init__(self, folder: Path, acknowledge: bool = True) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        context.load_verify_locations(folder / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        self.context, self.acknowledge = context, acknowledge
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.clients: list[str] = []
        self.messages: list[tuple[str, bytes, int]] = []
        self.subjects: list[str] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self.socket.accept()
                plain.settimeout(10)
                with self.context.wrap_socket(plain, server_side=True) as connection:
                    self._talk(connection)
            except (ssl.SSLError, ConnectionError, TimeoutError, EOFError):
                continue
            except OSError:
                return

    def _talk(self, connection: ssl.SSLSocket) -> None:
        subject = connection.getpeercert()["subject"]
        self.subjects.append(str(subject[0][0][1]))
        while True:
            first, body = self._packet(connection)
            if first >> 4 == 1:  # CONNECT: protocol name, level, flags, keep-alive, then the client id
                length = int.from_bytes(body[10:12], "big")
                self.clients.append(body[12 : 12 + length].decode())
                connection.sendall(b"\x20\x02\x00\x00")
            elif first >> 4 == 3:  # PUBLISH
                length = int.from_bytes(body[:2], "big")
                identifier, payload = body[2 + length : 4 + length], body[4 + length :]
                self.messages.append((body[2 : 2 + length].decode(), payload, first >> 1 & 3))
                if self.acknowledge:
                    connection.sendall(b"\x40\x02" + identifier)
            elif first >> 4 == 14:  # DISCONNECT
                return

    def _packet(self, connection: ssl.SSLSocket) -> tuple[int, bytes]:
        first, length, shift = self._exactly(connection, 1)[0], 0, 0
        while True:
            digit = self._exactly(connection, 1)[0]
            length |= (digit & 127) << shift
            shift += 7
            if digit < 128:
                return first, self._exactly(connection, length)

    def _exactly(self, connection: ssl.SSLSocket, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = connection.recv(count - len(data))
            if not more:
                raise EOFError
            data += more
        return data


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """A device's folder, the server's, and one of another CA."""
    made: dict[str, Path] = {}
    for ca, names in (("ca", ("dev-1", "server")), ("other", ("stranger",))):
        ca_key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate("ca", ca_key, "ca", ca_key, ca=True)
        for name in names:
            made[name] = _folder(tmp_path / f"{ca}-{name}", name, ca_key, certificate)
    return made


@pytest.fixture
def listener(folders: dict[str, Path]) -> Iterator[Listener]:
    """A listener that acknowledges."""
    made = Listener(folders["server"])
    yield made
    made.socket.close()


def test_messages_arrive_in_order(folders: dict[str, Path], listener: Listener) -> None:
    payloads = [bytes([at]) * (at * 300) for at in range(10)]
    topic = topic_of("acme", "dev-1", "telemetry")
    publish("127.0.0.1", listener.port, folders["dev-1"], "dev-1", topic, payloads)
    assert listener.messages == [("vitro/acme/dev-1/telemetry", payload, 1) for payload in payloads]
    assert (listener.clients, listener.subjects) == (["dev-1"], ["dev-1"])


def test_the_command_line(folders: dict[str, Path], listener: Listener, tmp_path: Path) -> None:
    def run(*arguments: str, stdin: bytes = b"") -> bytes:
        command = [sys.executable, "-m", "outsider", *arguments]
        done = subprocess.run(command, cwd=Path(__file__).parents[1], input=stdin, capture_output=True, check=True)
        return done.stdout

    folder = str(folders["dev-1"])
    time = ["--time", "2026-01-02T03:04:05.250+01:00"]
    own = ["--folder", folder, "--thing", "dev-1"]
    data = run("make", *own, "--number", "3", *time, "energy=3.0903:kWh", "temp=missing:Cel")
    assert b'"number": 3' in run("show", "-", stdin=data)
    file = tmp_path / "envelope.cbor"
    file.write_bytes(run("attack", "equivocation", "--folder", folder, "-", stdin=data))
    to = ["--port", str(listener.port), *own, "--customer", "acme"]
    run("publish", *to, "--basic-ingest", "-", str(file), stdin=data)
    topics = {topic for topic, _, _ in listener.messages}
    assert topics == {"$aws/rules/vitro_acme_telemetry/vitro/acme/dev-1/telemetry"}
    first, second = (parse(payload) for _, payload, _ in listener.messages)
    assert first.data == data
    assert first.header == second.header
    assert first.leaf != second.leaf


def test_a_stranger_is_not_let_in(folders: dict[str, Path], listener: Listener) -> None:
    stranger = folders["stranger"]
    (stranger / "ca.pem").write_bytes((folders["dev-1"] / "ca.pem").read_bytes())
    with pytest.raises((PublishError, OSError)):
        publish("127.0.0.1", listener.port, stranger, "dev-1", "t", [b"x"], timeout=1)
    assert not listener.messages


def test_a_false_server_gets_nothing(folders: dict[str, Path]) -> None:
    listener = Listener(folders["stranger"])
    with pytest.raises(ssl.SSLError):
        publish("127.0.0.1", listener.port, folders["dev-1"], "dev-1", "t", [b"x"], timeout=2)
    listener.socket.close()


def test_the_server_may_go_by_another_name(folders: dict[str, Path], listener: Listener) -> None:
    to = ("127.0.0.1", listener.port, folders["dev-1"], "dev-1", "t", [b"x"])
    with pytest.raises(ssl.SSLError):
        publish(*to, server_name="broker.example", timeout=2)
    publish(*to, server_name="127.0.0.1")


def test_what_is_not_acknowledged_is_told(folders: dict[str, Path]) -> None:
    listener = Listener(folders["server"], acknowledge=False)
    with pytest.raises(PublishError, match="not acknowledged"):
        publish("127.0.0.1", listener.port, folders["dev-1"], "dev-1", "t", [b"x"], timeout=0.5)
    listener.socket.close()
