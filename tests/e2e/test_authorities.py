"""Authorities below authorities, revocation lists, renewal with the same key, and devices that will announce themselves."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from e2e.support.devices import TABLE, ZONE, Device, Registrar
from e2e.support.programs import VITRO, run, vitro
from outsider import publish
from stack import Installation, wait

pytestmark = pytest.mark.e2e
SECONDS = 60.0


def chain_of(path: Path) -> list[x509.Certificate]:
    """The certificates of a PEM file."""
    return x509.load_pem_x509_certificates(path.read_bytes())


def stored(installation: Installation, thing: str) -> list[int]:
    """The numbers that the time series holds of a device."""
    found = installation.client("dynamodb").query(
        TableName=installation.name("readings"),
        KeyConditionExpression="device = :device",
        ExpressionAttributeValues={":device": {"S": thing}},
        ConsistentRead=True,
    )["Items"]
    return sorted({int.from_bytes(item["key"]["B"][:8], "big") for item in found})


def entry(installation: Installation, thing: str) -> dict[str, Any] | None:
    """A device's registry entry."""
    found = installation.client("dynamodb").get_item(
        TableName=installation.name("devices"), Key={"device": {"S": thing}}, ConsistentRead=True
    )
    return found.get("Item")


def arrives(installation: Installation, device: Device, number: int) -> None:
    """Sends a reading with what the folder shows, and waits until it is stored."""
    device.send([device.envelope(number)])
    wait.until(f"reading {number} of {device.thing}", lambda: number in stored(installation, device.thing), SECONDS)


@pytest.fixture
def authorities(installation: Installation, tmp_path: Path, unique: Callable[[str], str]) -> list[Path]:
    """A root and two authorities below it, the last of which AWS IoT knows."""
    run(installation, VITRO, "command-key", "new", "--json")
    root, one, two = (tmp_path / name for name in ("root", "one", "two"))
    vitro(installation, "ca", "new", root, "--name", unique("root"), "--path-length", "2")
    vitro(installation, "ca", "intermediate", one, "--parent", root, "--name", unique("one"))
    vitro(installation, "ca", "intermediate", two, "--parent", one, "--name", unique("two"))
    vitro(installation, "ca", "register", two)
    return [root, one, two]


def place(thing: str, folder: Path) -> list[str | Path]:
    """What `device new` wants to know of a site."""
    sensors = folder / "sensors.json"
    sensors.write_text(json.dumps(TABLE))
    return ["--metering-point", f"point-{thing}", "--zone", ZONE, "--shard", "north", "--sensors", sensors]


def test_a_device_below_two_intermediates_is_believed(
    installation: Installation, authorities: list[Path], tmp_path: Path, unique: Callable[[str], str]
) -> None:
    root, one, two = authorities
    thing = unique("deep")
    folder = tmp_path / thing
    vitro(installation, "device", "new", thing, "--ca", two, "--out", folder, *place(thing, tmp_path))
    shown = chain_of(folder / "cert.pem")
    assert [one.subject for one in shown[1:]] == [chain_of(ca / "ca.cert.pem")[0].subject for ca in (two, one)]
    # Another implementation follows the chain up to the root.
    for certificate, issuer in zip(shown, [*shown[1:], *chain_of(root / "ca.cert.pem")], strict=True):
        certificate.verify_directly_issued_by(issuer)
    limits = [
        chain_of(ca / "ca.cert.pem")[0].extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
        for ca in authorities
    ]
    assert limits == [2, 1, 0]
    refused = run(installation, VITRO, "ca", "intermediate", tmp_path / "x", "--parent", two, "--name", "x")
    assert refused.returncode == 1
    assert not (tmp_path / "x").exists()
    arrives(installation, Device(installation, thing, folder), 0)


def test_a_list_names_what_was_revoked(
    installation: Installation, authorities: list[Path], tmp_path: Path, unique: Callable[[str], str]
) -> None:
    _, one, two = authorities
    things = [unique("lost"), unique("kept")]
    for thing in things:
        vitro(installation, "device", "new", thing, "--ca", two, "--out", tmp_path / thing, *place(thing, tmp_path))
    first = vitro(installation, "ca", "crl", two)
    assert (first["number"], first["revoked"]) == (1, 0)
    vitro(installation, "ca", "revoke", two, "--device", things[0], "--reason", "key-compromise")
    vitro(installation, "ca", "revoke", one, "--certificate", two / "ca.cert.pem", "--reason", "ca-compromise")
    for ca, wanted, lost in [
        (two, x509.ReasonFlags.key_compromise, chain_of(tmp_path / things[0] / "cert.pem")[0]),
        (one, x509.ReasonFlags.ca_compromise, chain_of(two / "ca.cert.pem")[0]),
    ]:
        made = vitro(installation, "ca", "crl", ca, "--next-update-hours", "2", "--out", tmp_path / "copy.crl")
        crl = x509.load_der_x509_crl((ca / "ca.crl").read_bytes())
        assert (tmp_path / "copy.crl").read_bytes() == (ca / "ca.crl").read_bytes()
        assert crl.is_signature_valid(chain_of(ca / "ca.cert.pem")[0].public_key())  # type: ignore[arg-type]
        assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == made["number"]
        assert [found.serial_number for found in crl] == [lost.serial_number]
        reason = next(iter(crl)).extensions.get_extension_for_class(x509.CRLReason).value.reason
        assert reason == wanted
    for arguments, code in [
        (["--serial", "77"], 3),
        (["--device", "nobody"], 3),
        (["--certificate", one / "ca.cert.pem"], 1),
        ([], 2),
    ]:
        assert run(installation, VITRO, "ca", "revoke", two, *arguments).returncode == code, arguments


def test_a_renewed_device_stays_the_same(
    installation: Installation, registrar: Registrar, unique: Callable[[str], str], tmp_path: Path
) -> None:
    device = registrar.device(unique("renewed"))
    thing, folder, authority = device.thing, device.folder, registrar.folder / "ca"
    arrives(installation, device, 0)
    before = Device(installation, thing, Path(shutil.copytree(folder, tmp_path / "before")))
    old = chain_of(folder / "cert.pem")[0]

    made = vitro(installation, "device", "renew", thing, "--folder", folder, "--ca", authority)
    new = chain_of(folder / "cert.pem")[0]
    assert new.public_key() == old.public_key()
    assert new.serial_number != old.serial_number
    assert not list(folder.glob("*.next.pem"))
    row = entry(installation, thing) or {}
    assert row["certificate_id"]["S"] == made["certificate_id"]
    assert set(row["certificate_ids"]["SS"]) == {made["certificate_id"], *made["older"]}
    assert len(made["older"]) == 1
    # Both may connect for now, and the numbers go on.
    arrives(installation, device, 1)
    arrives(installation, before, 2)

    ended = vitro(installation, "device", "renew", thing, "--folder", folder, "--finish")
    assert ended["inactive"] == made["older"]
    assert vitro(installation, "device", "renew", thing, "--folder", folder, "--finish")["inactive"] == []
    arrives(installation, device, 3)
    with pytest.raises(publish.PublishError):
        before.send([before.envelope(4)])
    assert stored(installation, thing) == [0, 1, 2, 3]
    assert set((entry(installation, thing) or {})["certificate_ids"]["SS"]) == {made["certificate_id"]}
    status = installation.client("iot").describe_certificate(certificateId=made["older"][0])
    assert status["certificateDescription"]["status"] == "INACTIVE"
    # A folder with another key renews nothing.
    other = registrar.device(unique("other"))
    refused = run(installation, VITRO, "device", "renew", thing, "--folder", other.folder, "--ca", authority)
    assert refused.returncode == 1
    assert "belongs to" in refused.stderr


def test_a_device_that_will_announce_itself_is_not_known_yet(
    installation: Installation, authorities: list[Path], tmp_path: Path, unique: Callable[[str], str]
) -> None:
    thing = unique("coming")
    folder, key = tmp_path / thing, tmp_path / "command-key.json"
    key.write_text(json.dumps(vitro(installation, "command-key", "show")))
    site = place(thing, tmp_path)
    # Nobody is asked: there is no endpoint, and there are no credentials.
    offline = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}
    where = ["--mqtt-host", "broker.example", "--command-key", key, "--customer", installation.customer]
    arguments = ["device", "new", thing, "--ca", authorities[2], "--out", folder, "--jitr", *where, *site, "--json"]
    made = run_with(offline, *arguments)
    assert entry(installation, thing) is None
    things = installation.client("iot").list_things()["things"]
    assert thing not in {found["thingName"] for found in things}
    assert len(chain_of(folder / "cert.pem")) == 3
    said = json.loads((folder / "manifest.json").read_text())
    assert [(one["thing"], one["public_key"], one["serial"]) for one in said] == [
        (thing, made["public_key"], made["serial"])
    ]
    vitro(installation, "manifest", "import", folder / "manifest.json")
    assert vitro(installation, "manifest", "show", thing)["public_key"] == made["public_key"]


def run_with(environment: dict[str, str], *arguments: str | Path) -> Any:
    """The JSON that the command line answers in an environment of its own."""
    done = subprocess.run(
        [VITRO, *arguments], env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
