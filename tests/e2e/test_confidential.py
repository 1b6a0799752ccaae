"""Confidential telemetry from the agent to the statement: stored as ciphertext, summed up and billed as any other."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import boto3
import cbor2
import pytest
from botocore.exceptions import ClientError

from e2e.conftest import VISIBILITY
from e2e.support import observe, whole_day
from e2e.support.devices import Registrar, yesterday
from e2e.support.parties import Parties
from e2e.support.programs import VITRO, run, vitro
from outsider import confidential, envelope
from stack import Installation, wait

pytestmark = pytest.mark.e2e
PRICE = "0.25"


def data_keys(installation: Installation, *command: str) -> dict[str, str]:
    """The ids of the data-proxy keys by their state, after a command; the newest of several."""
    done = run(installation, VITRO, "data-key", *command, "--json")
    assert done.returncode == 0, done.stderr
    return {key["state"]: key["id"] for key in json.loads(done.stdout)}


def prepare(installation: Installation) -> None:
    """Makes the first keys, unless another test has."""
    done = run(installation, VITRO, "data-key", "new", "--json")
    assert done.returncode == 0 or "rotate" in done.stderr, done.stderr


def site(registrar: Registrar, thing: str, day: str, stem: str, *more: str) -> whole_day.Site:
    """A device with the recording that belongs to the stem."""
    csv, sensors, increase = whole_day.record(registrar.folder, thing, day, f"confidential {stem}")
    polls = ["--poll-interval", str(whole_day.STEP_MINUTES * 60)]
    return whole_day.Site(registrar.device(thing, sensors, *polls, *more), csv, sensors, increase)


def recipients(installation: Installation, thing: str) -> list[str]:
    """Whose keys the stored envelopes of a device are encrypted for, by number."""
    stored = observe.readings(installation, thing)
    opened = [envelope.parse(stored[number][0]) for number in sorted(stored)]
    assert {one.header.content for one in opened} == {envelope.ENCRYPTED}
    return [confidential.parse(one.payload).recipient for one in opened]


def raw(installation: Installation, row: dict[str, Any]) -> bytes:
    """The archived envelopes of a settled day."""
    found = installation.client("s3").get_object(
        Bucket=installation.archive, Key=f"raw/{row['device']}/{row['day']}.cbor"
    )
    return bytes(found["Body"].read())


def test_a_confidential_day_comes_out_as_the_clear_one(
    installation: Installation, registrar: Registrar, parties: Parties, unique: Callable[[str], str]
) -> None:
    day, agreement = yesterday(), unique("agreement")
    registrar.device(unique("first"))
    prepare(installation)
    # Twins with one recording: what is confidential about the second shows nowhere but on its way.
    sites = [
        site(registrar, unique("open"), day, "twin"),
        site(registrar, unique("secret"), day, "twin", "--confidential"),
    ]
    assert sites[0].increase == sites[1].increase
    things = [one.thing for one in sites]
    parties.register(*things)
    parties.agree(agreement, [f"point-{thing}" for thing in things], day, PRICE)
    running = [whole_day.replay(sites[0], day), whole_day.replay(sites[1], day, "--lose", "7-9")]
    for one, process in zip(sites, running, strict=True):
        process.communicate(timeout=whole_day.SECONDS + 10)
        assert process.returncode == 0, (one.device.folder / "agent.log").read_text()
    rows = [whole_day.published(installation, thing, day) for thing in things]
    assert [row["outcome"] for row in rows] == ["matched", "backfilled"]
    for one in sites:
        found = whole_day.figures(installation, parties, one, day, agreement)
        assert found == dict.fromkeys(("block", "summary", "ledger", "statement"), one.increase)

    # The table and the archive hold ciphertext, the block's message as it came does too.
    secret = sites[1].thing
    assert set(recipients(installation, secret)) == {data_keys(installation, "show")["current"]}
    assert b"energy" in raw(installation, rows[0])
    assert b"energy" not in raw(installation, rows[1])
    s3 = installation.client("s3")
    key = f"blocks/{secret}/0000000000.confidential.cbor"
    came = s3.get_object(Bucket=installation.archive, Key=key)["Body"].read()
    assert b"energy" not in came
    assert len(cbor2.loads(came)) == 2
    # Whoever may read the keys reads the same values of both.
    values = [
        [
            [(record.get("value"), record.get("missing")) for record in one["records"]]
            for one in vitro(installation, "readings", thing, "--day", day)["envelopes"]
        ]
        for thing in things
    ]
    assert values[0] == values[1]
    assert len(values[1]) > 80


def test_clear_telemetry_of_a_confidential_device_is_refused(
    installation: Installation, registrar: Registrar, unique: Callable[[str], str]
) -> None:
    registrar.device(unique("first"))
    prepare(installation)
    device = registrar.device(unique("secret"), None, "--confidential")
    key = json.loads((device.folder / "data-proxy-keys.json").read_text())["current"]
    recipient = (key["id"], bytes.fromhex(key["public_key"]))
    clear = device.envelope(0)
    pack = envelope.parse(device.envelope(1)).payload

    def sealed(number: int, payload: bytes) -> bytes:
        return envelope.seal(envelope.Header(device.thing, number, content=envelope.ENCRYPTED), payload, device.key)

    good = sealed(1, confidential.seal(device.thing, 1, pack, recipient))
    moved = sealed(2, confidential.seal(device.thing, 1, pack, recipient))
    device.send([clear, good, moved, sealed(3, pack)])
    wait.until("the three to be stored", lambda: len(observe.readings(installation, device.thing)) == 3, 60, 0.2)
    wait.until("the clear one to be kept", lambda: observe.refusals(installation, device.thing), 60, 0.2)
    assert [reason for reason, _ in observe.refusals(installation, device.thing)] == ["clear_telemetry"]
    flags = {
        number: observe.row_of_reading(installation, device.thing, number).get("flags", set()) for number in (1, 2, 3)
    }
    assert flags == {1: set(), 2: {"undecryptable"}, 3: {"bad_encryption"}}


def test_a_key_is_rotated_in_mid_day(
    installation: Installation, registrar: Registrar, unique: Callable[[str], str]
) -> None:
    day = yesterday()
    registrar.device(unique("first"))
    prepare(installation)
    one = site(registrar, unique("secret"), day, "rotated", "--confidential")
    before = data_keys(installation, "show")
    morning = whole_day.replay(one, day, "--until", "12:00")
    wait.until("the morning", lambda: len(observe.readings(installation, one.thing)) > 30, 60, 0.2)
    morning.kill()
    morning.wait(10)
    after = data_keys(installation, "rotate")
    assert (after["former"], after["current"]) == (before["current"], before["next"])
    told = run(installation, VITRO, "device", "keys", one.device.folder)
    assert told.returncode == 0, told.stderr
    # Retired at once: what came under it is read by the audit path alone from here on.
    assert before["current"] in data_keys(installation, "retire").values()
    process = whole_day.replay(one, day)
    process.communicate(timeout=whole_day.SECONDS + 10)
    assert process.returncode == 0, (one.device.folder / "agent.log").read_text()
    assert observe.settled(installation, one.thing, day)["outcome"] == "matched"
    used = recipients(installation, one.thing)
    assert [used[0], used[-1]] == [before["current"], after["current"]]
    assert used == sorted(used, key=[before["current"], after["current"]].index), "once told, it stays with the new key"
    values = [
        record
        for shown in vitro(installation, "readings", one.thing, "--day", day)["envelopes"]
        for record in shown["records"]
    ]
    assert not [record for record in values if "fault" in record]


@pytest.fixture(scope="module")
def auth_registrar(auth_installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Registrar:
    """Provisions devices where policies are enforced."""
    auth_installation.set_visibility(VISIBILITY)
    return Registrar(auth_installation, tmp_path_factory.mktemp("devices"))


def as_role(installation: Installation, role: str) -> Any:
    """A client of Secrets Manager with the rights of a function's role."""
    name = installation.name(role)
    arn = installation.client("iam").get_role(RoleName=name)["Role"]["Arn"]
    given = installation.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
    session = boto3.Session(
        given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], region_name=installation.info.region
    )
    return session.client(
        "secretsmanager",
        endpoint_url=installation.info.endpoint_url,
        verify=installation.info.ca_path if installation.info.tls else None,
    )


def test_only_the_audit_path_reads_retired_keys(
    auth_installation: Installation, auth_registrar: Registrar, unique: Callable[[str], str]
) -> None:
    installation, day = auth_installation, yesterday()
    auth_registrar.device(unique("first"))
    prepare(installation)
    one = site(auth_registrar, unique("secret"), day, "roles", "--confidential")
    retired = data_keys(installation, "show")["current"]
    # The device is not told of the rotation, and its key is retired: ingest cannot read what it sends, the night can.
    data_keys(installation, "rotate")
    data_keys(installation, "retire")
    process = whole_day.replay(one, day)
    process.communicate(timeout=whole_day.SECONDS + 10)
    assert process.returncode == 0, (one.device.folder / "agent.log").read_text()
    assert observe.settled(installation, one.thing, day)["outcome"] == "matched"
    assert set(recipients(installation, one.thing)) == {retired}
    assert observe.row_of_reading(installation, one.thing, 0)["flags"] == {"encrypted"}
    for role in ("ingest", "heartbeat", "publish"):
        with pytest.raises(ClientError, match=r"AccessDenied|not authorized"):
            as_role(installation, role).get_secret_value(SecretId=installation.name("data-proxy-retired"))
    with pytest.raises(ClientError, match=r"AccessDenied|not authorized"):
        as_role(installation, "publish").get_secret_value(SecretId=installation.name("data-proxy"))
    assert (
        "current"
        in as_role(installation, "ingest").get_secret_value(SecretId=installation.name("data-proxy"))["SecretString"]
    )
    for role in ("summarize", "reconcile"):
        text = as_role(installation, role).get_secret_value(SecretId=installation.name("data-proxy-retired"))[
            "SecretString"
        ]
        assert retired in text
