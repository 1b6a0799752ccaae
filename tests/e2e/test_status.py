"""A device's life after its registration: registry, AWS IoT Core and ledger agree, with every policy enforced."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import paho.mqtt.client as mqtt
import pytest

from e2e.conftest import VISIBILITY
from e2e.support import observe, whole_day
from e2e.support.devices import Device, Registrar, increase_of, yesterday
from e2e.support.parties import Parties
from e2e.support.programs import VITRO, run, vitro
from local.device import Connection
from outsider import publish
from stack import Installation, wait

pytestmark = pytest.mark.e2e
SECONDS = 60.0


@pytest.fixture(scope="module")
def registrar(auth_installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Registrar:
    """Provisions devices where policies are enforced."""
    auth_installation.set_visibility(VISIBILITY)
    return Registrar(auth_installation, tmp_path_factory.mktemp("devices"))


@pytest.fixture(scope="module")
def parties(auth_installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Parties:
    """The four parties on that installation's ledger."""
    return Parties(auth_installation, tmp_path_factory.mktemp("parties"))


@contextmanager
def connected(device: Device) -> Iterator[Connection]:
    """An open connection of a device, by its own certificate."""
    info = device.installation.info
    client = mqtt.Client(
        mqtt.CallbackAPIVersion.VERSION2, device.thing, protocol=mqtt.MQTTv311, reconnect_on_failure=False
    )
    client.tls_set(info.ca_path, str(device.folder / "cert.pem"), str(device.folder / "key.pem"))
    connection = Connection(client)
    client.on_connect = lambda _c, _u, _f, reason, _p: reason.is_failure or connection.accepted.set()
    client.on_disconnect = lambda *_: connection.ended.set()
    client.on_message = lambda _c, _u, m: connection.messages.append((m.topic, m.payload))
    client.connect(info.mqtt_host, info.mqtt_port)
    client.loop_start()
    try:
        assert connection.outcome()
        yield connection
    finally:
        connection.close()


def stored(device: Device) -> set[int]:
    """The numbers in the time series."""
    return set(observe.readings(device.installation, device.thing))


def refused(device: Device) -> dict[str, int]:
    """How often each reason stands in quarantine."""
    reasons = [reason for reason, _ in observe.refusals(device.installation, device.thing)]
    return {reason: reasons.count(reason) for reason in reasons}


def certificate(device: Device) -> str:
    """Where its certificate stands in AWS IoT."""
    found = device.installation.client("iot").describe_certificate(certificateId=device.principal)
    return str(found["certificateDescription"]["status"])


def standing(parties: Parties, thing: str) -> dict[str, Any]:
    """What any party reads of a device's status on the ledger."""
    status: dict[str, Any] = parties.call("sp", "device", thing)["device"]["status"]
    return status


def check(installation: Installation, thing: str) -> None:
    """The three agree."""
    shown = vitro(installation, "device", "show", thing, "--check")
    assert shown["disagreements"] == []


def test_a_suspension_holds_everywhere_and_what_was_refused_comes_again(
    auth_installation: Installation, registrar: Registrar, parties: Parties, unique: Callable[[str], str]
) -> None:
    installation, day = auth_installation, yesterday()
    device = registrar.device(unique("meter"))
    parties.register(device.thing)
    sent, message, _ = device.day(day, 80, "status")
    with connected(device) as open_one:
        for data in sent[:5]:
            assert open_one.publish(device.topic(), data)
        wait.until("the first messages", lambda: stored(device) == set(range(5)), SECONDS, 0.2)

        shown = vitro(installation, "device", "suspend", device.thing)
        assert (shown["status"], shown["cause"], shown["last_good"]) == ("suspended", "operator", 4)
        assert (shown["status_applied"], shown["disagreements"]) == (1, [])
        assert certificate(device) == "INACTIVE"
        halt = standing(parties, device.thing)["halt"]
        assert (standing(parties, device.thing)["standing"], halt["last_good"], halt["reason"]) == (
            "suspended",
            4,
            "operator",
        )
        # The connection is open still, and ingest refuses what comes over it within a minute.
        began, at = time.monotonic(), 5
        while "device_suspended" not in refused(device):
            assert time.monotonic() - began < SECONDS, "the suspension is not honoured"
            assert open_one.publish(device.topic(), sent[at])
            wait.until("its fate", lambda n=at: n in stored(device) or refused(device), SECONDS, 0.1)
            at += 1
            # One message a second: they last longer than the minute that is promised.
            time.sleep(1)
        assert at < len(sent)
        refused_from = at - 1
        for data in sent[at:]:
            assert open_one.publish(device.topic(), data)
    wait.until(
        "all to be refused",
        lambda: refused(device) == {"device_suspended": len(sent) - refused_from},
        SECONDS,
        0.2,
    )
    assert stored(device) == set(range(refused_from))
    info, topic = installation.info, publish.topic_of(installation.customer, device.thing, "telemetry")
    with pytest.raises(publish.PublishError):
        publish.publish(info.mqtt_host, info.mqtt_port, device.folder, device.thing, topic, [sent[0]], timeout=3)
    # Once more changes nothing, and a later instant is none.
    again = vitro(installation, "device", "suspend", device.thing)
    assert (again["since"], again["last_good"], again["status_revision"]) == (shown["since"], 4, 1)

    active = vitro(installation, "device", "reinstate", device.thing)
    assert (active["status"], active["status_applied"], active["disagreements"]) == ("active", 2, [])
    assert certificate(device) == "ACTIVE"
    assert standing(parties, device.thing)["standing"] == "active"
    # The block counts what was refused, the cloud asks for it, and the day ends whole.
    with connected(device) as back:
        assert back.subscribe(f"vitro/{installation.customer}/{device.thing}/command")
        wait_active(device, back, sent[0])
        assert back.publish(device.topic("block"), message)
        wait.until("the cloud to ask", lambda: back.messages, SECONDS, 0.2)
        for data in sent[refused_from:]:
            assert back.publish(device.topic(), data)
    assert observe.settled(installation, device.thing, day)["outcome"] == "backfilled"
    whole_day.published(installation, device.thing, day)
    answer = parties.call("dv", "day", device.thing, day)
    assert answer["outcome"] == "agrees"
    check(installation, device.thing)


def wait_active(device: Device, connection: Connection, duplicate: bytes) -> None:
    """Until ingest has heard of a reinstatement: a repetition is a duplicate then, and no refusal."""
    before = device.installation.metric("Duplicates")

    def heard() -> bool:
        assert connection.publish(device.topic(), duplicate)
        return device.installation.metric("Duplicates") > before

    wait.until("ingest to hear of it", heard, SECONDS, 1)


def test_a_retired_device_keeps_its_good_days(
    auth_installation: Installation, registrar: Registrar, parties: Parties, unique: Callable[[str], str]
) -> None:
    installation, day = auth_installation, yesterday()
    device = registrar.device(unique("meter"))
    parties.register(device.thing)
    sent, message, _ = device.day(day, 6, "retired")
    device.send(sent)
    wait.until("its messages", lambda: len(stored(device)) == 6, SECONDS, 0.2)
    shown = vitro(installation, "device", "retire", device.thing)
    assert (shown["status"], shown["last_good"], shown["disagreements"]) == ("retired", 5, [])
    assert certificate(device) == "REVOKED"
    assert standing(parties, device.thing)["standing"] == "retired"
    back = run(installation, VITRO, "device", "reinstate", device.thing)
    assert back.returncode == 1
    assert "for good" in back.stderr
    # Its last block was on the way, and one of a day that nobody believes any more.
    _, later, _ = device.day(whole_day.day_before(day), 3, "never")
    received = int(time.time() * 1000)
    events = [device.event(data, received, topic=device.topic("block")) for data in (message, later)]
    observe.put(installation, "blocks", [json.dumps(event) for event in events])
    assert observe.settled(installation, device.thing, day)["outcome"] == "matched"
    whole_day.published(installation, device.thing, day)
    wait.until("the other to be refused", lambda: refused(device) == {"device_retired": 1}, SECONDS, 0.2)
    # Somebody turns the certificate on again: that is told, and repaired by the same command.
    installation.client("iot").update_certificate(certificateId=device.principal, newStatus="ACTIVE")
    told = run(installation, VITRO, "device", "show", device.thing, "--check")
    assert (told.returncode, "should be REVOKED" in told.stderr) == (1, True)
    vitro(installation, "device", "retire", device.thing)
    wait.until("the certificate", lambda: certificate(device) == "REVOKED", SECONDS, 0.2)
    check(installation, device.thing)


def test_an_exchange_is_one_command_and_bills_across_it(
    auth_installation: Installation, registrar: Registrar, parties: Parties, unique: Callable[[str], str]
) -> None:
    installation, swapped, agreement = auth_installation, yesterday(), unique("agreement")
    first_day = whole_day.day_before(swapped)
    old = registrar.device(unique("old"))
    point = f"point-{old.thing}"
    thing, folder = unique("new"), registrar.folder / unique("new")
    sensors = registrar.folder / "sensors.json"
    made = vitro(
        installation,
        *("device", "new", thing, "--replaces", old.thing, "--ca", registrar.folder / "ca", "--out", folder),
        *("--sensors", sensors, "--not-before", f"{swapped}T00:00:00Z"),
    )
    assert made["metering_point"] == point
    new = Device(installation, thing, folder)
    parties.register(old.thing)
    parties.register(new.thing)
    parties.agree(agreement, [point], first_day, "0.25")

    # The old one's last day: its last envelope is the last good one, and its block comes after the exchange.
    day_one, day_two = old.day(first_day, 6, "exchange"), old.day(swapped, 4, "exchange")
    old.send([*day_one[0], *day_two[0]])
    old.send([day_one[1]], "block")
    wait.until("the old one's messages", lambda: len(stored(old)) == 10, SECONDS, 0.2)
    swap = ("device", "exchange", old.thing, new.thing, "--at", f"{swapped}T12:00:00Z", "--last-good", "9")
    shown = vitro(installation, *swap)
    assert (shown["status"], shown["cause"], shown["replaced_by"]) == ("retired", "exchanged", new.thing)
    assert (shown["last_good"], shown["disagreements"]) == (9, [])
    assert vitro(installation, *swap)["status_revision"] == 1, "once"
    assert certificate(old) == "ACTIVE", "for its last block"
    old.send([day_two[1]], "block")
    made_now, message, _ = new.day(swapped, 5, "exchange")
    new.send(made_now)
    new.send([message], "block")
    for device, day in ((old, first_day), (old, swapped), (new, swapped)):
        assert observe.settled(installation, device.thing, day)["outcome"] == "matched"
        whole_day.published(installation, device.thing, day)

    issued = installation.invoke("bill", {"agreement": agreement, "from": first_day, "to": swapped})
    statement = parties.call("dv", "statement", issued["statement"])["statement"]
    lines = [(line["day"], line["thing"], Decimal(line["quantity"])) for line in statement["lines"]]
    assert lines == [
        (first_day, old.thing, increase_of(old.chain[0])),
        (swapped, old.thing, increase_of(old.chain[1])),
        (swapped, new.thing, increase_of(new.chain[0])),
    ]
    assert {line["point"] for line in statement["lines"]} == {point}
    assert len({line["hash"] for line in statement["lines"]}) == 3
    assert (statement["unbilled"], Decimal(statement["quantity"])) == ([], sum(line[2] for line in lines))

    # Nothing else of the old one is taken, and an operator ends its connection for good.
    late = old.envelope(10)
    wait.until("its refusal", lambda: old.send([late]) or "device_retired" in refused(old), SECONDS, 2)
    vitro(installation, "device", "retire", old.thing, "--last-good", "9")
    assert certificate(old) == "REVOKED"
    check(installation, old.thing)
    check(installation, new.thing)
    history = vitro(installation, "device", "show", new.thing)["ledger"]["history"]["services"]
    assert [(one["thing"], one["since"]["exchange"]["old"]) for one in history] == [(new.thing, old.thing)]
