"""Devices that announce themselves: the good way, and every unhappy one with its own code. IAM and IoT policies are
enforced, and nobody connects without a client certificate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from e2e.support import observe
from e2e.support.authorities import DAY, HOUR, Authority, new_key, now
from e2e.support.devices import Registrar
from e2e.support.enrolment import Enrolment, refuses, register_authority
from e2e.support.parties import Parties
from e2e.support.programs import vitro
from stack import Deployment, Installation, wait
from stack.model import StackInfo

pytestmark = pytest.mark.e2e
SECONDS = 60
# Longer than an invocation takes on a busy machine.
VISIBILITY = 15


@pytest.fixture(scope="module")
def parties(auth_installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Parties:
    """The four parties: register speaks to the ledger as the operator."""
    auth_installation.set_visibility(VISIBILITY)
    return Parties(auth_installation, tmp_path_factory.mktemp("parties"))


@pytest.fixture(scope="module")
def root() -> Authority:
    return Authority.root("Test root")


@pytest.fixture(scope="module")
def acme(root: Authority) -> Authority:
    return root.below("Acme devices")


@pytest.fixture(scope="module")
def enrolment(
    auth_installation: Installation,
    parties: Parties,
    root: Authority,
    acme: Authority,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Enrolment]:
    """A trust store with a root and an intermediate whose devices announce themselves, and lists of both."""
    made = Enrolment(auth_installation, tmp_path_factory.mktemp("enrolment"))
    made.trust(root, announces=False)
    made.trust(acme)
    looked = made.look()
    assert {looked[root.id]["list"], looked[acme.id]["list"]} <= {"newer", "same"}
    yield made
    made.lists.close()


def test_a_device_announces_itself_and_is_taken_in(
    enrolment: Enrolment, acme: Authority, parties: Parties, unique: Callable[[str], str]
) -> None:
    installation, thing = enrolment.installation, unique("sun")
    enrolment.expect(thing)
    newcomer = enrolment.newcomer(thing, acme)
    newcomer.admitted()
    row = newcomer.row()
    assert (row["status"], row["certificate_id"], set(row["certificate_ids"])) == ("active", newcomer.id, {newcomer.id})
    assert (row["metering_point"], row["shard"], row["zone"]) == (f"point-{thing}", "north", "Etc/UTC")
    point = newcomer.key.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    digest = hashes.Hash(hashes.SHA256())
    digest.update(point)
    identity = observe.row(installation, "identities", identity=f"key/{digest.finalize().hex()}")
    assert (row["public_key"], identity["device"]) == (point, thing)
    attributes = installation.client("iot").describe_thing(thingName=thing)["attributes"]
    assert attributes == {"customer": "acme", "stage": "test"}
    # The ledger comes last.
    wait.until("the ledger to have it", lambda: installation.metric("DevicesRegistered") >= 1, SECONDS, 0.5)
    assert parties.call("operator", "device", thing)["device"]["entry"]["metering_point"] == f"point-{thing}"
    # What it sends is believed.
    sent = newcomer.device.envelope(0)
    newcomer.device.send([sent])
    wait.until("its telemetry to be stored", lambda: observe.readings(installation, thing) == {0: [sent]}, SECONDS, 0.3)
    # It announces itself with another certificate for its key: a renewal.
    renewed = enrolment.newcomer(thing, acme, newcomer.key)
    renewed.admitted()
    row = newcomer.row()
    assert (row["certificate_id"], set(row["certificate_ids"])) == (renewed.id, {newcomer.id, renewed.id})
    # A new environment knows the registry as it is; one that works may know it as it was five seconds ago.
    installation.kill("ingest")
    more = [newcomer.device.envelope(1), newcomer.device.envelope(2)]
    newcomer.device.send(more[:1])
    renewed.device.send(more[1:])
    stored = {0: [sent], 1: [more[0]], 2: [more[1]]}
    wait.until("both to be good", lambda: observe.readings(installation, thing) == stored, SECONDS, 0.3)
    assert observe.parked(installation, thing) == []


def test_a_successor_announces_itself_and_takes_the_meter_over(
    enrolment: Enrolment, acme: Authority, parties: Parties, unique: Callable[[str], str]
) -> None:
    installation, old, new = enrolment.installation, unique("old"), unique("new")
    enrolment.expect(old)
    enrolment.newcomer(old, acme).admitted()
    place = {"replaces": old, "metering_point": f"point-{old}", "confidential": True}
    # What it is said to replace serves another point: nobody may take that over by a slip in a manifest.
    elsewhere = unique("elsewhere")
    enrolment.expect(elsewhere, **(place | {"metering_point": f"point-{elsewhere}"}))
    stranger = enrolment.newcomer(elsewhere, acme)
    assert stranger.connect() is None
    assert stranger.refused() == "manifest_mismatch"
    enrolment.expect(new, **place)
    newcomer = enrolment.newcomer(new, acme)
    newcomer.admitted()
    row = newcomer.row()
    assert (row["replaces"], row["metering_point"], row["confidential"]) == (old, f"point-{old}", True)

    def serves(thing: str) -> list[str]:
        history = vitro(installation, "device", "show", thing)["ledger"]["history"]
        return [] if history is None else [one["thing"] for one in history["services"]]

    wait.until("the ledger to have the old one", lambda: serves(old) == [old], SECONDS, 0.5)
    shown = vitro(installation, "device", "exchange", old, new)
    assert (shown["status"], shown["replaced_by"], shown["disagreements"]) == ("retired", new, [])
    assert serves(new) == [new]


def test_an_authority_that_nobody_registered_ends_at_tls(enrolment: Enrolment, unique: Callable[[str], str]) -> None:
    thing, stranger = unique("sun"), Authority.root("Nobody's root")
    enrolment.expect(thing)
    newcomer = enrolment.newcomer(thing, stranger)
    assert newcomer.connect() is None
    assert newcomer.state() is None, "AWS IoT has not even seen it"


def test_an_authority_that_is_not_trusted(enrolment: Enrolment, unique: Callable[[str], str]) -> None:
    """AWS IoT knows it, because another installation of the account registered it."""
    thing, stranger = unique("sun"), Authority.root("Another's root")
    register_authority(enrolment.installation, stranger, auto=True)
    enrolment.expect(thing)
    newcomer = enrolment.newcomer(thing, stranger)
    assert newcomer.connect() is None
    assert newcomer.state() == "PENDING_ACTIVATION", "nobody listens to its devices"
    newcomer.tell()
    assert newcomer.refused() == "unknown_ca"
    assert newcomer.row() == {}


@pytest.mark.parametrize("when", ["expired", "not_yet_valid"])
def test_a_certificate_out_of_its_time(
    enrolment: Enrolment, acme: Authority, unique: Callable[[str], str], when: str
) -> None:
    thing = unique("sun")
    enrolment.expect(thing)
    validity = {
        "expired": {"not_before": now() - 9 * DAY, "not_after": now() - HOUR},
        "not_yet_valid": {"not_before": now() + HOUR, "not_after": now() + DAY},
    }
    newcomer = enrolment.newcomer(thing, acme, **validity[when])
    assert newcomer.connect() is None
    assert newcomer.state() is None, "TLS itself refuses it"
    # The function's own verdict, should another broker be less strict.
    newcomer.register()
    newcomer.tell()
    assert newcomer.refused() == f"certificate_{when}"
    assert newcomer.row() == {}


def test_a_revoked_certificate(enrolment: Enrolment, acme: Authority, unique: Callable[[str], str]) -> None:
    thing = unique("sun")
    enrolment.expect(thing)
    newcomer = enrolment.newcomer(thing, acme)
    acme.revoke(newcomer.certificate)
    enrolment.lists.put(acme)
    assert enrolment.look()[acme.id]["list"] == "newer"
    assert newcomer.connect() is None
    assert newcomer.refused() == "certificate_revoked"
    assert newcomer.row() == {}


def test_an_authority_that_was_revoked(enrolment: Enrolment, root: Authority, unique: Callable[[str], str]) -> None:
    gone = root.below("Acme devices, stolen")
    enrolment.trust(gone)
    thing = unique("sun")
    enrolment.expect(thing)
    root.revoke(gone.certificate, x509.ReasonFlags.ca_compromise)
    enrolment.lists.put(root)
    looked = enrolment.look()
    assert (looked[root.id]["list"], looked[gone.id]["list"]) == ("newer", "newer")
    newcomer = enrolment.newcomer(thing, gone)
    assert newcomer.connect() is None
    assert newcomer.refused() == "issuer_revoked"
    assert newcomer.row() == {}


def test_an_authority_without_a_list(enrolment: Enrolment, root: Authority, unique: Callable[[str], str]) -> None:
    silent = root.below("Acme devices, silent")
    enrolment.trust(silent, with_list=False)
    thing = unique("sun")
    enrolment.expect(thing)
    newcomer = enrolment.newcomer(thing, silent)
    assert newcomer.connect() is None
    assert newcomer.refused() == "crl_missing"
    assert newcomer.row() == {}
    assert "authorities-without-list" in enrolment.installation.alarms()


def test_a_device_that_nobody_expects(enrolment: Enrolment, acme: Authority, unique: Callable[[str], str]) -> None:
    newcomer = enrolment.newcomer(unique("sun"), acme)
    assert newcomer.connect() is None
    assert newcomer.refused() == "not_in_manifest"
    assert newcomer.row() == {}
    assert enrolment.installation.metric("RegistrationsRefused", "not_in_manifest") >= 1
    # Its cause removed, the same announcement is good.
    enrolment.expect(newcomer.thing)
    newcomer.tell()
    wait.until("it to be active", lambda: newcomer.state() == "ACTIVE", SECONDS, 0.3)
    assert newcomer.row()["status"] == "active"


def test_a_certificate_that_was_ended_is_not_revived_by_its_announcement(
    enrolment: Enrolment, acme: Authority, unique: Callable[[str], str]
) -> None:
    thing, iot = unique("sun"), enrolment.installation.client("iot")
    enrolment.expect(thing)
    first = enrolment.newcomer(thing, acme)
    first.admitted()
    renewed = enrolment.newcomer(thing, acme, first.key)
    renewed.admitted()
    wait.until("it to be the newest", lambda: first.row()["certificate_id"] == renewed.id, SECONDS, 0.3)
    renewed.configure()
    done = vitro(enrolment.installation, "device", "renew", thing, "--folder", renewed.folder, "--finish")
    assert (done["inactive"], done["revoked"]) == ([first.id], [])
    first.tell()
    assert first.refused() == "certificate_withdrawn"
    # Ended by hand.
    iot.update_certificate(certificateId=renewed.id, newStatus="INACTIVE")
    renewed.tell()
    assert renewed.refused() == "certificate_withdrawn"
    assert (first.state(), renewed.state()) == ("INACTIVE", "INACTIVE")
    row = first.row()
    assert (row["certificate_id"], row["certificate_ids"]) == (renewed.id, {renewed.id})


def test_a_device_that_is_expected_with_another_key(
    enrolment: Enrolment, acme: Authority, unique: Callable[[str], str]
) -> None:
    thing, key = unique("sun"), new_key()
    point = key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    enrolment.expect(thing, public_key=point.hex())
    impostor = enrolment.newcomer(thing, acme)
    assert impostor.connect() is None
    assert impostor.refused() == "manifest_mismatch"
    enrolment.newcomer(thing, acme, key).admitted()


def test_another_things_name(enrolment: Enrolment, acme: Authority, unique: Callable[[str], str]) -> None:
    thing = unique("sun")
    enrolment.expect(thing)
    rightful = enrolment.newcomer(thing, acme)
    rightful.admitted()
    before = rightful.row()
    impostor = enrolment.newcomer(thing, acme)
    assert impostor.connect() is None
    assert impostor.refused() == "other_thing"
    assert rightful.row()["certificate_ids"] == before["certificate_ids"]
    assert rightful.state() == "ACTIVE"


def test_a_cloned_key(
    enrolment: Enrolment, acme: Authority, unique: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    first, second = unique("sun"), unique("moon")
    enrolment.expect(first, second)
    rightful = enrolment.newcomer(first, acme)
    rightful.admitted()
    clone = enrolment.newcomer(second, acme, rightful.key)
    assert clone.connect() is None
    assert clone.refused() == "key_in_use"
    assert clone.row() == {}
    # Nor does the operator's own command line take it.
    registrar = Registrar(enrolment.installation, tmp_path_factory.mktemp("clone"))
    device = registrar.device(unique("meter"))
    other = unique("meter")
    folder = registrar.folder / other
    folder.mkdir(mode=0o700)
    (folder / "key.pem").write_bytes((device.folder / "key.pem").read_bytes())
    (folder / "key.pem").chmod(0o600)
    place = ["--metering-point", f"point-{other}", "--zone", "Etc/UTC", "--shard", "north"]
    place += ["--sensors", str(registrar.folder / "sensors.json")]
    told = refuses(
        enrolment.installation, "device", "new", other, "--ca", registrar.folder / "ca", "--out", folder, *place
    )
    assert device.thing in told
    assert observe.row(enrolment.installation, "devices", device=other) == {}


def test_another_customers_stack(
    enrolment: Enrolment, acme: Authority, auth_stack: StackInfo, unique: Callable[[str], str]
) -> None:
    """Two customers in one account: neither takes in what is the other's."""
    other = Installation.deploy(auth_stack, Deployment("globex", "test", {"SettleSeconds": "1"}))
    thing, theirs = unique("sun"), unique("moon")
    enrolment.expect(thing)
    newcomer = enrolment.newcomer(thing, acme)
    newcomer.admitted()
    # The rule of the authority leads to its own stack; told of it all the same, another does not trust the authority.
    newcomer.tell(other)
    wait.until(
        "the other to refuse it",
        lambda: [row["reason"] for row in observe.parked(other, thing)] == ["unknown_ca"],
        SECONDS,
        0.3,
    )
    assert newcomer.state() == "ACTIVE", "what is another's is not touched"
    # A thing of theirs, in our manifest by mistake and with a certificate of ours.
    other.client("iot").create_thing(
        thingName=theirs, attributePayload={"attributes": {"customer": "globex", "stage": "test"}}
    )
    enrolment.expect(theirs)
    intruder = enrolment.newcomer(theirs, acme)
    assert intruder.connect() is None
    assert intruder.refused() == "other_customer"
    assert intruder.row() == {}


def test_only_roots_and_what_they_signed_are_trusted(enrolment: Enrolment, acme: Authority, root: Authority) -> None:
    stranger = Authority.root("Stranger").below("Stranger's devices")
    file = enrolment.folder / "stranger.pem"
    file.write_text(stranger.pem)
    assert "no trusted authority signed it" in refuses(enrolment.installation, "trust", "add", file)
    # Whoever bears the name of a trusted authority is not the same.
    forged = Authority.root(root.name).below("Forged")
    file.write_text(forged.pem)
    assert "signature" in refuses(enrolment.installation, "trust", "add", file)
    device = acme.device("sun-x", new_key())
    file.write_bytes(device.public_bytes(serialization.Encoding.PEM))
    assert "not an authority" in refuses(enrolment.installation, "trust", "add", file)
    assert "stands below it" in refuses(enrolment.installation, "trust", "remove", root.id)
    assert "announce" in refuses(enrolment.installation, "trust", "remove", acme.id)
