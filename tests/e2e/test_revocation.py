"""Revocation lists: what is on them is suspended everywhere although connections stay open; what is no good list changes
nothing. IAM and IoT policies are enforced.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography import x509

from e2e.support import observe
from e2e.support.authorities import DAY, HOUR, Authority, new_key, now
from e2e.support.enrolment import Enrolment, Newcomer, refuses
from e2e.support.parties import Parties
from e2e.support.programs import VITRO, run, vitro
from local.device import Connection
from stack import Installation, wait

pytestmark = pytest.mark.e2e
SECONDS = 60
VISIBILITY = 15
CODE = "device_suspended"


@pytest.fixture(scope="module")
def enrolment(auth_installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Enrolment]:
    auth_installation.set_visibility(VISIBILITY)
    Parties(auth_installation, tmp_path_factory.mktemp("parties"))
    made = Enrolment(auth_installation, tmp_path_factory.mktemp("revocation"))
    yield made
    made.lists.close()


@pytest.fixture
def root(enrolment: Enrolment, unique: Callable[[str], str]) -> Authority:
    """A trusted root of this test alone."""
    root = Authority.root(unique("Root"))
    enrolment.trust(root, announces=False)
    return root


@pytest.fixture
def issuer(enrolment: Enrolment, root: Authority, unique: Callable[[str], str]) -> Authority:
    """A trusted intermediate of this test alone, with a list."""
    issuer = root.below(unique("Devices"))
    enrolment.trust(issuer)
    looked = enrolment.look()
    assert (looked[root.id]["list"], looked[issuer.id]["list"]) == ("newer", "newer")
    return issuer


def sending(enrolment: Enrolment, thing: str, issuer: Authority) -> tuple[Newcomer, Connection]:
    """A device that was taken in, with a connection that stays open and one reading stored over it."""
    enrolment.expect(thing)
    newcomer = enrolment.newcomer(thing, issuer)
    newcomer.admitted()
    connection = wait.until("it to be let in", newcomer.connect, SECONDS, 0.5)
    assert connection.publish(newcomer.device.topic(), newcomer.device.envelope(0))
    wait.until("a reading", lambda: 0 in observe.readings(enrolment.installation, thing), SECONDS, 0.3)
    return newcomer, connection


def refused_on(connection: Connection, newcomer: Newcomer) -> None:
    """Over a connection that stays open, nothing is stored that comes later than 60 seconds after the suspension."""
    latest = int(newcomer.row()["suspended_at"]) + 60_000
    number = 1

    def told() -> list[dict[str, Any]]:
        nonlocal number
        assert connection.publish(newcomer.device.topic(), newcomer.device.envelope(number)), "the connection is open"
        number += 1
        return [e for reason, e in observe.refusals(newcomer.installation, newcomer.thing) if reason == CODE]

    wait.until("telemetry to be refused", told, 60 + SECONDS, 1)
    wait.until("the queue to be empty", lambda: newcomer.installation.waiting("telemetry") == 0, SECONDS, 0.3)
    stored = newcomer.installation.client("dynamodb").query(
        TableName=newcomer.installation.name("readings"),
        KeyConditionExpression="device = :d",
        ExpressionAttributeValues={":d": {"S": newcomer.thing}},
    )["Items"]
    assert max(int(item["received"]["N"]) for item in stored) <= latest


def at_least(found: Callable[[], float], wanted: float) -> bool:
    """Whether so much is counted now; the schedule looks as well."""
    return found() >= wanted


def suspended(newcomer: Newcomer, cause: str) -> dict[str, Any]:
    """Waits until registry and AWS IoT agree that the device is out."""
    wait.until("the certificate to be revoked", lambda: newcomer.state() == "REVOKED", SECONDS, 0.3)
    row = newcomer.row()
    assert (row["status"], row["cause"]) == ("suspended", cause)
    wait.until("both to agree", lambda: newcomer.row().get("status_applied") == row["status_revision"], SECONDS, 0.3)
    return row


def test_a_revoked_device_is_out_although_it_is_connected(
    enrolment: Enrolment, issuer: Authority, unique: Callable[[str], str]
) -> None:
    newcomer, connection = sending(enrolment, unique("sun"), issuer)
    other, others = sending(enrolment, unique("moon"), issuer)
    issuer.revoke(newcomer.certificate)
    enrolment.lists.put(issuer)
    report = enrolment.look()[issuer.id]
    assert (report["list"], report["suspended"]) == ("newer", [newcomer.thing])
    refused_on(connection, newcomer)
    row = suspended(newcomer, "key_compromised")
    assert row["last_good"] == 0
    connection.close()
    assert newcomer.connect() is None
    # Nobody else is touched, and the next look has nothing left to do.
    assert others.publish(other.device.topic(), other.device.envelope(1))
    wait.until("the other's reading", lambda: 1 in observe.readings(enrolment.installation, other.thing), SECONDS, 0.3)
    others.close()
    assert other.row()["status"] == "active"
    report = enrolment.look()[issuer.id]
    assert (report["list"], report["suspended"]) == ("same", [])


def test_a_revoked_authority_takes_all_of_its_devices_with_it(
    enrolment: Enrolment, root: Authority, issuer: Authority, unique: Callable[[str], str]
) -> None:
    newcomer, connection = sending(enrolment, unique("sun"), issuer)
    root.revoke(issuer.certificate, x509.ReasonFlags.ca_compromise)
    enrolment.lists.put(root)
    assert enrolment.look()[root.id]["suspended"] == [newcomer.thing]
    refused_on(connection, newcomer)
    suspended(newcomer, "issuer_revoked")
    connection.close()


def test_a_replaced_certificate_is_revoked_and_its_device_goes_on(
    enrolment: Enrolment, issuer: Authority, unique: Callable[[str], str]
) -> None:
    newcomer, connection = sending(enrolment, unique("sun"), issuer)
    connection.close()
    renewed = enrolment.newcomer(newcomer.thing, issuer, newcomer.key)
    renewed.admitted()
    issuer.revoke(newcomer.certificate, x509.ReasonFlags.superseded)
    enrolment.lists.put(issuer)
    assert enrolment.look()[issuer.id]["suspended"] == []
    assert (newcomer.state(), renewed.state()) == ("REVOKED", "ACTIVE")
    row = newcomer.row()
    assert (row["status"], row["certificate_ids"]) == ("active", {renewed.id})
    # A new environment knows the registry as it is; one that works may know it as it was five seconds ago.
    enrolment.installation.kill("ingest")
    sent = renewed.device.envelope(1)
    renewed.device.send([sent])
    wait.until("its reading", lambda: 1 in observe.readings(enrolment.installation, renewed.thing), SECONDS, 0.3)


def test_another_certificate_heals_what_was_superseded_and_nothing_heals_a_compromised_key(
    enrolment: Enrolment, root: Authority, issuer: Authority, unique: Callable[[str], str]
) -> None:
    installation, thing = enrolment.installation, unique("sun")
    enrolment.expect(thing)
    newcomer = enrolment.newcomer(thing, issuer)
    newcomer.admitted()
    newcomer.device.send([newcomer.device.envelope(0)])
    wait.until("a reading", lambda: 0 in observe.readings(installation, thing), SECONDS, 0.3)
    issuer.revoke(newcomer.certificate, x509.ReasonFlags.superseded)
    enrolment.lists.put(issuer)
    assert enrolment.look()[issuer.id]["suspended"] == [thing]
    suspended(newcomer, "certificate_revoked")
    assert "needs another certificate" in refuses(installation, "device", "reinstate", thing)
    # A certificate that is revoked itself heals nothing; neither does the first one, announced again.
    revoked = enrolment.newcomer(thing, issuer, newcomer.key)
    issuer.revoke(revoked.certificate, x509.ReasonFlags.cessation_of_operation)
    held = enrolment.newcomer(thing, issuer, newcomer.key)
    for renewed in (revoked, held):
        assert renewed.connect() is None
        wait.until("it to be held", functools.partial(is_held, newcomer, renewed), SECONDS, 0.3)
        if renewed is revoked:
            enrolment.lists.put(issuer)
            enrolment.look()
            told = refuses(installation, "device", "reinstate", thing)
            assert "needs another certificate" in told
            assert "vitro device renew" in told
    assert newcomer.row()["status"] == "suspended"
    # Nor does a good one whose authority nobody here trusts.
    vitro(installation, "trust", "announce", issuer.id, "--off")
    assert run(installation, VITRO, "trust", "remove", issuer.id).returncode == 0
    told = refuses(installation, "device", "reinstate", thing)
    assert "(unknown_ca)" in told
    assert "vitro trust add" in told
    file = enrolment.folder / f"{issuer.id}.pem"
    vitro(installation, "trust", "add", file, "--crl", enrolment.lists.url(issuer))
    vitro(installation, "trust", "announce", issuer.id)
    assert "(crl_missing)" in refuses(installation, "device", "reinstate", thing)
    assert enrolment.look()[issuer.id]["list"] == "newer"
    back = vitro(installation, "device", "reinstate", thing)
    assert (back["status"], back["cause"], back["disagreements"]) == ("active", None, [])
    assert (newcomer.state(), revoked.state(), held.state()) == ("REVOKED", "REVOKED", "ACTIVE")
    assert newcomer.connect() is None
    assert revoked.connect() is None
    # What is revoked stays so when the renewal is finished.
    held.configure()
    done = vitro(installation, "device", "renew", thing, "--folder", held.folder, "--finish")
    assert (done["inactive"], sorted(done["revoked"])) == ([], sorted([newcomer.id, revoked.id]))
    assert (newcomer.state(), revoked.state(), held.state()) == ("REVOKED", "REVOKED", "ACTIVE")
    assert newcomer.row()["certificate_ids"] == {held.id}
    # A new environment knows the registry as it is; one that works may know it as it was five seconds ago.
    installation.kill("ingest")
    held.device.send([held.device.envelope(1)])
    wait.until("what it sends", lambda: 1 in observe.readings(installation, thing), SECONDS, 0.3)
    # The list names the first two for ever, and takes nobody out again.
    issuer.number += 1
    enrolment.lists.put(issuer)
    report = enrolment.look()[issuer.id]
    assert (report["list"], report["suspended"], newcomer.row()["status"]) == ("newer", [], "active")
    # Now it is said of a certificate that was replaced long ago, and so of the key.
    issuer.revoke(newcomer.certificate, x509.ReasonFlags.key_compromise)
    enrolment.lists.put(issuer)
    assert enrolment.look()[issuer.id]["suspended"] == [thing]
    suspended(held, "key_compromised")
    another = enrolment.newcomer(thing, issuer, newcomer.key)
    assert another.connect() is None
    wait.until("it to be held", functools.partial(is_held, newcomer, another), SECONDS, 0.3)
    told = refuses(installation, "device", "reinstate", thing)
    assert "its key is compromised" in told
    assert "vitro device exchange" in told
    assert (another.state(), newcomer.row()["status"]) == ("INACTIVE", "suspended")


def is_held(device: Newcomer, renewed: Newcomer) -> bool:
    """Whether a renewed certificate is registered, and inactive because its device is suspended."""
    return device.row()["certificate_id"] == renewed.id and renewed.state() == "INACTIVE"


def test_what_is_no_good_list_raises_an_alarm_and_changes_nothing(
    enrolment: Enrolment, issuer: Authority, unique: Callable[[str], str]
) -> None:
    installation, thing = enrolment.installation, unique("sun")
    enrolment.expect(thing)
    newcomer = enrolment.newcomer(thing, issuer)
    newcomer.admitted()
    before = observe.row(installation, "trust", authority=issuer.id)
    # Every one of these would revoke the device.
    issuer.revoke(newcomer.certificate)
    higher = issuer.number + 1
    lists = {
        "crl_unreadable": b"<html>we moved</html>",
        "crl_stale": issuer.crl(higher, now() - 3 * DAY, now() - HOUR),
        "crl_not_yet_valid": issuer.crl(higher, now() + HOUR),
        "crl_bad_signature": issuer.crl(higher, key=new_key()),
        "crl_other_issuer": Authority.root("Stranger").crl(higher),
        "crl_number_backwards": issuer.crl(0),
    }
    for code, body in lists.items():
        counted = installation.metric("CrlFaults", code) + 1
        enrolment.lists.put(issuer, body)
        report = enrolment.look()[issuer.id]
        assert (report["list"], report.get("fault"), report["suspended"]) == ("fault", code, []), code
        found = functools.partial(installation.metric, "CrlFaults", code)
        wait.until("it to be counted", functools.partial(at_least, found, counted), SECONDS, 0.5)
        after = observe.row(installation, "trust", authority=issuer.id)
        kept = {name: value for name, value in after.items() if not name.startswith(("crl_checked", "crl_fault"))}
        wanted = {name: value for name, value in before.items() if not name.startswith(("crl_checked", "crl_fault"))}
        assert (kept, after["crl_fault"]) == (wanted, code)
    # Another list under the number of the last one.
    other = issuer.crl(1)
    enrolment.lists.put(issuer, other)
    assert enrolment.look()[issuer.id]["fault"] == "crl_number_backwards"
    del enrolment.lists.pages[f"/{issuer.id}.crl"]
    assert enrolment.look()[issuer.id]["fault"] == "crl_unreachable"
    assert (newcomer.state(), newcomer.row()["status"]) == ("ACTIVE", "active")
    wait.until("the alarm", lambda: installation.alarms()["crl-faults"] == "ALARM", SECONDS, 0.5)
    # The good one at last.
    enrolment.lists.put(issuer)
    report = enrolment.look()[issuer.id]
    assert (report["list"], report["suspended"]) == ("newer", [thing])
    suspended(newcomer, "key_compromised")
