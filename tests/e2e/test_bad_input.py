"""Bad input: each message is refused with its own reason and kept whole, and the rest of its batch is stored."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import cbor2
import pytest

from e2e.conftest import VISIBILITY
from e2e.support import observe
from e2e.support.devices import Device, Registrar, yesterday
from outsider import Header, Key, attack, parse, seal, senml
from outsider.envelope import MAX_BYTES, seal_raw
from stack import Installation, wait

pytestmark = pytest.mark.e2e
SECONDS = 60.0


def wrong_algorithm(device: Device, number: int) -> bytes:
    """An envelope that says ES384 (-35), otherwise well made."""
    protected = cbor2.dumps({1: -35, 3: 112, 4: device.thing.encode(), 16: "vitro-telemetry", -65537: number})
    return seal_raw(protected, senml.write(device.thing, int(time.time() * 1000), []), device.key)


def too_large(device: Device, number: int) -> bytes:
    """A well-signed envelope, one byte larger than may be."""
    small = len(seal(Header(device.thing, number), bytes(MAX_BYTES - 1000), device.key))
    data = seal(Header(device.thing, number), bytes(MAX_BYTES - 1000 + MAX_BYTES - small + 1), device.key)
    assert len(data) == MAX_BYTES + 1
    return data


def refused(installation: Installation, thing: str, count: int) -> list[tuple[str, dict[str, Any]]]:
    """Reasons and events once so many are quarantined."""

    def found() -> list[tuple[str, dict[str, Any]]] | None:
        told = observe.refusals(installation, thing)
        return told if len(told) >= count else None

    return wait.until(f"{count} refusals of {thing}", found, SECONDS, 0.2)


def test_what_a_device_may_publish_and_must_not(installation: Installation, device: Device) -> None:
    """Through MQTT, in one batch with good messages."""
    good = [device.envelope(number) for number in range(4)]
    thief = Key.generate()
    bad = {
        "not_an_envelope": b"garbage",
        "trailing_bytes": device.envelope(4) + b"\0",
        "wrong_algorithm": wrong_algorithm(device, 5),
        "bad_signature": attack.forged(device.envelope(6), thief),
        "altered_copy": attack.flipped(good[1]),
        "other_device": attack.other_device(good[2], "somebody-else", device.key),
        "wrong_kind": device_block_as_telemetry(device),
        "unknown_header": seal_raw(
            cbor2.dumps({1: -7, 3: 112, 4: device.thing.encode(), 16: "vitro-telemetry", -65537: 7, 99: 0}),
            parse(good[0]).payload,
            device.key,
        ),
        "bad_content_type": seal_raw(
            cbor2.dumps({1: -7, 3: 60, 4: device.thing.encode(), 16: "vitro-telemetry", -65537: 8}),
            parse(good[0]).payload,
            device.key,
        ),
    }
    before = {reason: installation.metric("Refused", reason) for reason in bad}
    spoiled = list(bad.values())
    sent = [good[0], *spoiled[:3], good[1], *spoiled[3:6], good[2], *spoiled[6:], good[3]]
    with observe.held_back(installation, "telemetry"):
        device.send(sent)
        wait.until(
            "the rule to deliver everything", lambda: installation.waiting("telemetry") >= len(sent), SECONDS, 0.2
        )
    told = refused(installation, device.thing, len(bad))
    wait.until("the good ones", lambda: len(observe.readings(installation, device.thing)) == len(good), SECONDS, 0.2)
    assert observe.readings(installation, device.thing) == {at: [data] for at, data in enumerate(good)}
    assert {reason: base64.b64decode(event["envelope"]) for reason, event in told} == bad
    assert len(told) == len(bad)
    for _, event in told:
        assert isinstance(event["received"], int)
        whole = device.event(base64.b64decode(event["envelope"]), event["received"])
        assert event == whole, "the whole event, and nothing else"
    for reason, count in before.items():
        wait.until(f"{reason} in the metrics", lambda r=reason, n=count: installation.metric("Refused", r) == n + 1, 20)
    assert len(sent) == len(good) + len(told)


def device_block_as_telemetry(device: Device) -> bytes:
    """A well-signed envelope of another kind, on the topic of telemetry."""
    return seal(Header(device.thing, 0, "vitro-reply", "application/vitro-reply+cbor"), b"\xa0", device.key)


def test_nothing_of_a_batch_is_lost(
    installation: Installation, registrar: Registrar, unique: Callable[[str], str]
) -> None:
    """Straight into the queue: also what MQTT cannot carry, or IoT never lets pass. Stored + refused + dead = sent."""
    device, stranger, victim = (
        registrar.device(unique("meter")),
        unique("stranger"),
        registrar.device(unique("victim")),
    )
    now = int(time.time() * 1000)
    good = [device.envelope(number) for number in range(3)]
    theirs = seal(Header(stranger, 0), parse(good[0]).payload, Key.generate())
    topic = f"vitro/{installation.customer}/{stranger}/telemetry"
    bad: list[tuple[str, str, dict[str, object]]] = [
        ("too_large", device.thing, device.event(too_large(device, 3), now + 10)),
        ("unknown_device", stranger, device.event(theirs, now + 11, thing=stranger, topic=topic, client=stranger)),
        ("other_certificate", device.thing, device.event(device.envelope(4), now + 12, principal="0" * 64)),
        ("other_certificate", device.thing, device.event(device.envelope(5), now + 13, principal=None)),
        ("other_device", device.thing, device.event(device.envelope(6), now + 14, client=victim.thing)),
        # The victim's own envelope, on the attacker's topic; and the attacker's, on the victim's.
        ("other_device", device.thing, device.event(victim.envelope(0), now + 15)),
        ("other_device", victim.thing, victim.event(device.envelope(7), now + 16)),
        ("not_an_envelope", device.thing, device.event(b"", now + 17)),
    ]
    garbage = ["no JSON", "[]", '{"envelope":"!","thing":"x","topic":"t","received":1}', '{"envelope":""}']
    bodies = [json.dumps(device.event(data, now + at)) for at, data in enumerate(good)]
    bodies += [json.dumps(event) for _, _, event in bad] + garbage
    dead_before = installation.waiting("telemetry-dlq")
    sqs = installation.client("sqs")
    sqs.set_queue_attributes(QueueUrl=installation.queue_url("telemetry"), Attributes={"VisibilityTimeout": "1"})
    try:
        with observe.held_back(installation, "telemetry"):
            observe.put(installation, "telemetry", bodies)
        wait.until(
            "the garbage to be given up",
            lambda: installation.waiting("telemetry-dlq") == dead_before + len(garbage),
            SECONDS,
            0.5,
        )
    finally:
        installation.set_visibility(VISIBILITY)
    wait.until("the queue to be empty", lambda: installation.waiting("telemetry") == 0, SECONDS, 0.2)
    told = [
        (reason, thing, event)
        for thing in (device.thing, stranger, victim.thing)
        for reason, event in observe.refusals(installation, thing)
    ]
    ordered = sorted(told, key=lambda refusal: int(str(refusal[2]["received"])))
    assert ordered == bad, "each with its own reason, the whole event, once"
    assert observe.readings(installation, device.thing) == {at: [data] for at, data in enumerate(good)}
    assert observe.readings(installation, victim.thing) == {}
    url = installation.queue_url("telemetry-dlq")
    dead = [
        message
        for _ in range(5)
        for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=60).get(
            "Messages", []
        )
    ]
    assert sorted(message["Body"] for message in dead) == sorted(garbage), "byte for byte"
    for message in dead:
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert len(bodies) == len(good) + len(told) + len(dead)


def test_used_numbers_and_closed_days(installation: Installation, device: Device) -> None:
    """After its day is closed, a device's old numbers come again in every way."""
    sent, message, _ = device.day(yesterday(), 6, "numbers")
    device.send(sent)
    device.send([message], "block")
    assert observe.settled(installation, device.thing, yesterday())["outcome"] == "matched"
    wait.until(
        "the numbers to be closed",
        lambda: observe.row(installation, "devices", device=device.thing).get("closed_through") == 5,
        SECONDS,
        0.2,
    )
    # The time series forgets a reading after its hot period.
    observe.forget(installation, device.thing, 5)
    # A new environment knows the registry as it is; one that works may know it as it was five seconds ago.
    installation.kill("ingest")
    duplicates = installation.metric("Duplicates")
    second, fresh = attack.equivocation(sent[1], device.key), device.envelope(6)
    with observe.held_back(installation, "telemetry"):
        device.send([sent[0], second, sent[5], fresh])
    told = refused(installation, device.thing, 1)
    assert [(reason, event) for reason, event in told] == [
        ("equivocation", device.event(second, told[0][1]["received"]))
    ]
    # Of what the time series has forgotten, the archive still tells that it is the same.
    wait.until("the replays to be counted", lambda: installation.metric("Duplicates") == duplicates + 2, SECONDS, 0.2)
    stored = {at: [data] for at, data in enumerate(sent[:5])} | {6: [fresh]}
    wait.until("the new one", lambda: observe.readings(installation, device.thing) == stored, SECONDS, 0.2)


@pytest.mark.parametrize("status", ["suspended", "retired"])
def test_a_device_that_may_not_speak(installation: Installation, device: Device, status: str) -> None:
    observe.set_status(installation, device.thing, status)
    data = device.envelope(0)
    device.send([data])
    ((reason, event),) = refused(installation, device.thing, 1)
    assert (reason, event) == (f"device_{status}", device.event(data, event["received"]))
    assert observe.readings(installation, device.thing) == {}


def test_bad_blocks_and_replies(installation: Installation, registrar: Registrar, unique: Callable[[str], str]) -> None:
    """In one batch with the good block, which is accepted: the day is matched all the same."""
    device, other = registrar.device(unique("meter")), registrar.device(unique("other"))
    sent, message, _ = device.day(yesterday(), 6, "blocks")
    _, foreign, _ = other.day(yesterday(), 6, "blocks")
    device.send(sent)
    sealed, salt, summaries = cbor2.loads(message)
    forged = cbor2.dumps([attack.forged(sealed), salt, summaries])
    bad = {
        "not_a_block": b"garbage",
        "wrong_kind": cbor2.dumps([sent[0], salt, summaries]),
        "other_device": foreign,
        "bad_signature": forged,
        "digest_mismatch": cbor2.dumps([sealed, bytes(16), summaries]),
        "trailing_bytes": cbor2.dumps([sealed + b"\0", salt, summaries]),
    }
    not_a_reply = seal(Header(device.thing, 0, "vitro-reply", "application/vitro-reply+cbor"), b"\x01", device.key)
    with observe.held_back(installation, "blocks"):
        device.send([*list(bad.values())[:3], message, *list(bad.values())[3:]], "block")
        device.send([not_a_reply], "reply")
        wait.until("the rules to deliver", lambda: installation.waiting("blocks") >= len(bad) + 2, SECONDS, 0.2)
    told = refused(installation, device.thing, len(bad) + 1)
    assert {reason: base64.b64decode(event["envelope"]) for reason, event in told} == bad | {"not_a_reply": not_a_reply}
    for reason, event in told:
        topic = device.topic("reply" if reason == "not_a_reply" else "block")
        assert event == device.event(base64.b64decode(event["envelope"]), event["received"], topic=topic)
    assert observe.settled(installation, device.thing, yesterday())["outcome"] == "matched"
    # The block once more changes nothing; another one under its number is a fork.
    again = Device(installation, device.thing, device.folder)
    _, second, _ = again.day(yesterday(), 5, "another")
    device.send([message, second], "block")
    assert [reason for reason, _ in refused(installation, device.thing, len(bad) + 2)].count("fork") == 1
    wait.until("the queue to be empty", lambda: installation.waiting("blocks") == 0, SECONDS, 0.2)
    assert len(observe.refusals(installation, device.thing)) == len(bad) + 2
    assert observe.row(installation, "days", device=device.thing, day=yesterday())["accounts"] == 1
