"""Devices that announce themselves, and the authorities that an installation trusts."""

from __future__ import annotations

import base64
import json
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from e2e.support import observe
from e2e.support.authorities import PEM, Authority, Lists, key_pem, new_key
from e2e.support.devices import TABLE, ZONE, Device
from e2e.support.programs import VITRO, run, vitro
from local.device import Connection
from local.device import Device as Client
from stack import Installation, wait

SECONDS = 60.0


@dataclass
class Newcomer:
    """A device with a key and a certificate that nobody was told of."""

    installation: Installation
    thing: str
    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    issuer: Authority

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        chain = self.pem + self.issuer.pem
        for name in ("cert.pem", "certificate.pem"):
            (self.folder / name).write_text(chain)
        (self.folder / "key.pem").write_bytes(key_pem(self.key))
        (self.folder / "ca.pem").write_bytes(Path(self.installation.info.ca_path).read_bytes())

    @property
    def pem(self) -> str:
        """Its certificate alone, in PEM."""
        return self.certificate.public_bytes(PEM).decode()

    @property
    def id(self) -> str:
        """What AWS IoT calls its certificate."""
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    @property
    def device(self) -> Device:
        """The same as a device that signs and sends."""
        return Device(self.installation, self.thing, self.folder)

    def connect(self) -> Connection | None:
        """A connection by MQTT over mutual TLS; nothing if the broker does not let it in."""
        try:
            connection = Client(self.installation, self.thing, self.folder, "").connect()
        except (ssl.SSLError, ConnectionError):
            return None
        if connection.outcome():
            return connection
        connection.close()
        return None

    def state(self) -> str | None:
        """What AWS IoT says of the certificate; nothing if it does not know it."""
        iot = self.installation.client("iot")
        try:
            return str(iot.describe_certificate(certificateId=self.id)["certificateDescription"]["status"])
        except iot.exceptions.ResourceNotFoundException:
            return None

    def register(self) -> None:
        """Lets AWS IoT know the certificate without a connection, inactive."""
        self.installation.client("iot").register_certificate(
            certificatePem=self.pem, caCertificatePem=self.issuer.pem, status="INACTIVE"
        )

    def tell(self, installation: Installation | None = None) -> None:
        """Puts the announcement into an installation's queue, as its rule does."""
        installation = installation or self.installation
        published = {"certificateId": self.id, "caCertificateId": self.issuer.id, "timestamp": int(time.time() * 1000)}
        body = {
            "envelope": base64.b64encode(json.dumps(published).encode()).decode(),
            "thing": self.id,
            "topic": f"$aws/events/certificates/registered/{self.issuer.id}",
            "received": int(time.time() * 1000),
        }
        url = installation.queue_url("register")
        installation.client("sqs").send_message(QueueUrl=url, MessageBody=json.dumps(body))

    def configure(self) -> None:
        """Makes its folder one that the command line reads."""
        place = f'thing = "{self.thing}"\ncustomer = "{self.installation.customer}"\nzone = "{ZONE}"\n'
        (self.folder / "device.toml").write_text(place + '[broker]\nhost = "localhost"\nport = 8883\n')
        (self.folder / "key.pem").chmod(0o600)

    def row(self) -> dict[str, Any]:
        """Its entry in the registry."""
        return observe.row(self.installation, "devices", device=self.thing)

    def refused(self, installation: Installation | None = None) -> str:
        """Waits until it is refused, and gives the one reason; the certificate is inactive then."""
        installation = installation or self.installation

        def mine() -> list[dict[str, Any]]:
            rows = [row for row in observe.parked(installation, self.thing) if "key" in row]
            return [row for row in rows if observe.quarantined(installation, row)["event"]["thing"] == self.id]

        rows = wait.until(f"{self.thing} to be refused", mine, SECONDS, 0.3)
        (reason,) = {str(row["reason"]) for row in rows}
        event = observe.quarantined(installation, rows[0])["event"]
        assert json.loads(base64.b64decode(event["envelope"]))["certificateId"] == self.id
        assert f"/{reason}/" in rows[0]["key"]
        wait.until("the certificate to be inactive", lambda: self.state() in ("INACTIVE", "REVOKED"), SECONDS, 0.3)
        assert self.connect() is None
        return reason

    def admitted(self) -> None:
        """Announces itself, and waits until it is let in."""
        assert self.connect() is None, "the first connection is the announcement"
        wait.until(f"{self.thing} to be active", lambda: self.state() == "ACTIVE", SECONDS, 0.3)


@dataclass
class Enrolment:
    """An installation, its trust store and its manifest."""

    installation: Installation
    folder: Path
    lists: Lists = field(default_factory=Lists)

    def trust(self, authority: Authority, *, with_list: bool = True, announces: bool = True) -> None:
        """Trusts an authority, and lets AWS IoT announce its devices."""
        file = self.folder / f"{authority.id}.pem"
        file.write_text(authority.pem)
        more = ["--crl", self.lists.url(authority)] if with_list else []
        if with_list:
            self.lists.put(authority)
        vitro(self.installation, "trust", "add", file, *more)
        if announces:
            register_authority(self.installation, authority)
            vitro(self.installation, "trust", "announce", authority.id)

    def look(self) -> dict[str, dict[str, Any]]:
        """One look of the function trust: its report by authority."""
        looked = self.installation.invoke("trust", {})
        return {report["authority"]: report for report in looked["authorities"]}

    def expect(self, *things: str, **more: object) -> None:
        """Puts devices into the manifest."""
        entries = [
            {
                "thing": thing,
                "metering_point": f"point-{thing}",
                "shard": "north",
                "zone": ZONE,
                "sensors": TABLE,
                **more,
            }
            for thing in things
        ]
        file = self.folder / f"manifest-{things[0]}.json"
        file.write_text(json.dumps(entries))
        assert vitro(self.installation, "manifest", "import", file)["new"] == len(things)

    def newcomer(
        self, thing: str, issuer: Authority, key: ec.EllipticCurvePrivateKey | None = None, **validity: Any
    ) -> Newcomer:
        """A device that nobody knows, with its own key unless it is given one."""
        key = key or new_key()
        certificate = issuer.device(thing, key, **validity)
        folder = self.folder / f"{thing}-{certificate.serial_number:x}"[:48]
        return Newcomer(self.installation, thing, folder, key, certificate, issuer)


def register_authority(installation: Installation, authority: Authority, *, auto: bool = False) -> None:
    """Tells AWS IoT of an authority."""
    iot = installation.client("iot")
    proof = authority.proof(iot.get_registration_code()["registrationCode"])
    iot.register_ca_certificate(
        caCertificate=authority.pem,
        verificationCertificate=proof.public_bytes(PEM).decode(),
        setAsActive=True,
        allowAutoRegistration=auto,
    )


def refuses(installation: Installation, *command: str | Path) -> str:
    """What the command line says when it refuses."""
    done = run(installation, VITRO, *command)
    assert done.returncode == 1, done.stdout
    return done.stderr
