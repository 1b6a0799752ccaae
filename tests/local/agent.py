"""A device's folder made by hand, for tests of the agent without a stack: its broker is away."""

from __future__ import annotations

import datetime as dt
import json
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from stack.model import REPO

AGENT = REPO / "target" / "debug" / "vitro-device"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def make(folder: Path, thing: str, sensors: list[str], *settings: str) -> None:
    """Writes the folder of a device with such gauges; `settings` are further lines of its `device.toml`."""
    table = {"version": 1, "sensors": [{"name": name, "unit": "kWh", "kind": "gauge"} for name in sensors]}
    (folder / "sensors.json").write_text(json.dumps(table))
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    (folder / "command-keys.json").write_text(json.dumps({"current": {"id": "k", "public_key": public.hex()}}))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(pem)
    (folder / "key.pem").chmod(0o600)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, thing)])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    builder = builder.not_valid_after(dt.datetime(2126, 1, 1, tzinfo=dt.UTC))
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    for file in ("cert.pem", "ca.pem"):
        (folder / file).write_bytes(certificate)
    lines = [f'thing = "{thing}"', 'customer = "acme"', 'zone = "Etc/UTC"']
    lines += ["[broker]", 'host = "127.0.0.1"', f"port = {free_port()}", *settings]
    (folder / "device.toml").write_text("\n".join(lines) + "\n")


def messages(folder: Path, kind: int = 0) -> list[tuple[int, bytes]]:
    """Numbers and bytes of what is stored; kind 0 is telemetry, 1 are blocks. Nothing while there is no outbox."""
    try:
        with closing(sqlite3.connect(f"file:{folder / 'outbox.sqlite'}?mode=ro", uri=True)) as db:
            rows = db.execute("SELECT number, bytes FROM messages WHERE kind = ? ORDER BY number", (kind,)).fetchall()
    except sqlite3.OperationalError:
        return []
    return [(int(number), bytes(data)) for number, data in rows]
