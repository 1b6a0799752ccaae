"""Dependencies that fail for a while: work comes again through the queues, and nothing is lost."""

from __future__ import annotations

import pytest

from e2e.support import faults, observe
from e2e.support.devices import Device, yesterday
from e2e.support.faults import denied, queue_throttled, s3_error, throttled, unprocessed
from outsider import attack
from stack import Installation, wait

pytestmark = pytest.mark.e2e
SECONDS = 90.0
# More than the three attempts of one call, so that it is the queue that has to bring messages back.
TIMES = 4
NIGHT = ("blocks", "summarize", "reconcile")


def stored(installation: Installation, device: Device, sent: list[bytes]) -> None:
    """Waits until exactly these envelopes are stored, and their messages are done with."""
    wait.until(
        "everything to be stored",
        lambda: len(observe.readings(installation, device.thing)) == len(sent),
        SECONDS,
        0.2,
    )
    assert observe.readings(installation, device.thing) == {at: [data] for at, data in enumerate(sent)}
    wait.until("the queue to be empty", lambda: installation.waiting("telemetry") == 0, SECONDS, 0.2)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(throttled("BatchGetItem", "GetItem", times=TIMES), id="registry throttled"),
        pytest.param(
            throttled("UpdateItem", times=TIMES, code="ProvisionedThroughputExceededException"), id="days throttled"
        ),
        pytest.param(throttled("BatchWriteItem", times=TIMES), id="writes throttled"),
        pytest.param(unprocessed(TIMES), id="writes not processed"),
        pytest.param(throttled("Query", times=TIMES, code="RequestLimitExceeded"), id="lookups throttled"),
        pytest.param(denied("BatchWriteItem", times=TIMES), id="writes denied"),
    ],
)
def test_ingest_and_dynamodb(installation: Installation, device: Device, fault: faults.Fault) -> None:
    sent = [device.envelope(number) for number in range(30)]
    dead = installation.waiting("telemetry-dlq")
    with faults.between(installation, "ingest", ("DYNAMODB",), [fault]) as proxy:
        with observe.held_back(installation, "telemetry"):
            device.send(sent)
        stored(installation, device, sent)
        assert proxy.exhausted
    assert observe.parked(installation, device.thing) == []
    assert installation.waiting("telemetry-dlq") == dead


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (403, "AccessDenied"), (500, "InternalError")])
def test_ingest_and_the_quarantine(installation: Installation, device: Device, status: int, code: str) -> None:
    """A refused message that cannot be kept yet comes again; the good ones beside it are stored meanwhile."""
    sent = [device.envelope(number) for number in range(5)]
    forged = attack.forged(device.envelope(5))
    refusing = s3_error("PUT", times=TIMES, status=status, code=code)
    with faults.between(installation, "ingest", ("S3",), [refusing]) as proxy:
        with observe.held_back(installation, "telemetry"):
            device.send([*sent[:3], forged, *sent[3:]])
        wait.until("the refusal", lambda: observe.refusals(installation, device.thing), SECONDS, 0.2)
        stored(installation, device, sent)
        assert proxy.exhausted
    ((reason, event),) = observe.refusals(installation, device.thing)
    assert (reason, event) == ("bad_signature", device.event(forged, event["received"]))


@pytest.mark.parametrize("function", ["reconcile", "summarize"])
def test_the_night_in_trouble(installation: Installation, device: Device, function: str) -> None:
    """Tables, archive and queues refuse at several steps of a day; it is settled all the same, and once."""
    day = yesterday()
    sent, message, increase = device.day(day, 24, function)
    dead = {queue: installation.waiting(f"{queue}-dlq") for queue in NIGHT}
    device.send(sent)
    stored(installation, device, sent)
    before = installation.metric("DaysMatched")
    trouble = [
        throttled("GetItem", times=TIMES),
        throttled("Query", times=TIMES, code="ProvisionedThroughputExceededException"),
        throttled("UpdateItem", times=TIMES, code="InternalServerError"),
        s3_error("PUT", times=TIMES, status=503, code="SlowDown"),
        s3_error("GET", times=1, status=403, code="AccessDenied"),
        queue_throttled(TIMES),
    ]
    with faults.between(installation, function, ("DYNAMODB", "S3", "SQS"), trouble) as proxy:
        device.send([message], "block")
        settled = observe.settled(installation, device.thing, day, SECONDS)
        for queue in NIGHT:
            wait.until(f"{queue} to be empty", lambda q=queue: installation.waiting(q) == 0, SECONDS, 0.2)
        assert proxy.exhausted, [(fault.operations, fault.answered) for fault in proxy.faults]
    assert (settled["outcome"], settled["count"]) == ("matched", len(sent))
    assert observe.summary_increase(installation, settled, "energy") == increase
    assert observe.parked_by_the_stack(installation, device.thing) == []
    assert {queue: installation.waiting(f"{queue}-dlq") for queue in NIGHT} == dead
    assert installation.metric("DaysMatched") == before + 1
    closed = observe.row(installation, "devices", device=device.thing)
    assert closed["closed_through"] == len(sent) - 1
