"""A device as AWS IoT sees it: a thing, its certificate, an MQTT client. It signs nothing."""

from __future__ import annotations

import datetime as dt
import threading
from dataclasses import dataclass, field
from pathlib import Path

import paho.mqtt.client as mqtt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from stack import Installation, wait

SECONDS = 10.0


@dataclass
class Connection:
    """What became of one connection, and what arrived on it."""

    client: mqtt.Client
    accepted: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    messages: list[tuple[str, bytes]] = field(default_factory=list)

    def outcome(self) -> bool:
        """Waits until the broker has taken or refused the client; whether it took it."""
        wait.until("the broker to decide", lambda: self.accepted.is_set() or self.ended.is_set(), SECONDS)
        return self.accepted.is_set()

    def publish(self, topic: str, payload: bytes) -> bool:
        """Publishes with QoS 1; whether the broker acknowledged it."""
        info = self.client.publish(topic, payload, qos=1)
        wait.until("an acknowledgement", lambda: info.is_published() or self.ended.is_set(), SECONDS)
        return info.is_published()

    def subscribe(self, topic: str) -> bool:
        """Subscribes with QoS 1; whether the broker granted it."""
        granted: list[bool] = []
        self.client.on_subscribe = lambda _c, _u, _m, reasons, _p: granted.append(not reasons[0].is_failure)
        self.client.subscribe(topic, 1)
        wait.until("an answer", lambda: granted or self.ended.is_set(), SECONDS)
        return granted == [True]

    def close(self) -> None:
        """Disconnects."""
        self.client.disconnect()
        self.client.loop_stop()


@dataclass(frozen=True)
class Device:
    """A provisioned device; its key and certificate lie in `folder`."""

    installation: Installation
    thing: str
    folder: Path
    certificate_arn: str

    def connect(self, client_id: str | None = None, *, certificate: bool = True) -> Connection:
        """Starts one connection by MQTT over TLS."""
        info = self.installation.info
        client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id or self.thing,
            protocol=mqtt.MQTTv311,
            reconnect_on_failure=False,
        )
        own = (str(self.folder / "certificate.pem"), str(self.folder / "key.pem"))
        files = own if certificate else (None, None)
        client.tls_set(info.ca_path, *files)
        connection = Connection(client)
        client.on_connect = lambda _c, _u, _f, reason, _p: reason.is_failure or connection.accepted.set()
        client.on_disconnect = lambda *_: connection.ended.set()
        client.on_message = lambda _c, _u, m: connection.messages.append((m.topic, m.payload))
        client.connect(info.mqtt_host, info.mqtt_port)
        client.loop_start()
        return connection


def provision(installation: Installation, thing: str, folder: Path) -> Device:
    """Makes a thing with a self-signed certificate and the installation's device policy."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, thing)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "certificate.pem").write_bytes(pem)
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    iot = installation.client("iot")
    iot.create_thing(thingName=thing)
    arn = iot.register_certificate_without_ca(certificatePem=pem.decode(), status="ACTIVE")["certificateArn"]
    iot.attach_thing_principal(thingName=thing, principal=arn)
    iot.attach_policy(policyName=installation.name("device"), target=arn)
    return Device(installation, thing, folder, arn)
