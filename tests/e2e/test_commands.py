"""Commands: only the customer's key commands a device, once, and every other attempt is told by its own code."""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cbor2
import pytest

from e2e.conftest import VISIBILITY
from e2e.support import observe
from e2e.support.devices import Device, Registrar
from e2e.support.programs import AGENT, VITRO, run, vitro
from outsider import Header, Key, attack, parse, seal
from outsider.envelope import COMMAND, seal_raw
from stack import Installation, wait
from stack.model import REPO

pytestmark = pytest.mark.e2e
SECONDS = 60.0
DONE, UNSUPPORTED, EXPIRED = 0, 2, 3
RECORDING = REPO / "recordings" / "midc-2018-10-14.csv"


@pytest.fixture(scope="module")
def registrar(auth_installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Registrar:
    """Provisions devices where policies are enforced."""
    auth_installation.set_visibility(VISIBILITY)
    return Registrar(auth_installation, tmp_path_factory.mktemp("devices"))


class Agent:
    """A device's agent that runs, and what it says of commands."""

    def __init__(self, device: Device, log: Path) -> None:
        self.device, self.log = device, log

    def heard(self, text: str) -> int:
        """How often it said so."""
        return self.log.read_text().count(text)

    def send(self, command: bytes) -> None:
        """Brings a message to its topic, as AWS IoT does for whoever may publish there."""
        topic = f"vitro/{self.device.installation.customer}/{self.device.thing}/command"
        self.device.installation.client("iot-data").publish(topic=topic, qos=1, payload=command)

    def ignores(self, command: bytes, code: str) -> None:
        """Waits until it says that it ignores the command, and why."""
        before = self.heard(f'reason="{code}"')
        self.send(command)
        wait.until(f"the agent to say {code}", lambda: self.heard(f'reason="{code}"') == before + 1, SECONDS, 0.1)


@contextmanager
def running(device: Device, folder: Path) -> Iterator[Agent]:
    """The agent of a device, connected."""
    log = folder / f"{device.thing}.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [AGENT, "--folder", device.folder, "run", "--recording", RECORDING],
            env={"PATH": "/usr/bin:/bin", **device.installation.environment()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        try:
            agent = Agent(device, log)
            wait.until("the agent to be connected", lambda: agent.heard("connected") > 0, SECONDS, 0.1)
            stored = lambda: 0 in observe.readings(device.installation, device.thing)  # noqa: E731
            wait.until("its first reading", stored, SECONDS, 0.2)
            yield agent
            assert process.poll() is None, "it lives on, whatever it is sent"
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture
def agent(registrar: Registrar, unique: Callable[[str], str], tmp_path: Path) -> Iterator[Agent]:
    """A running agent of this test alone, whose sensors are those of the recording."""
    device = registrar.device(unique("meter"), RECORDING.with_suffix(".toml"), "--poll-interval", "2")
    with running(device, tmp_path) as agent:
        yield agent


def command(thing: str, number: int, key: Key, kid: str, action: str = "dance", expires: int = 3600) -> bytes:
    """A command as an implementation of another origin makes it."""
    payload = cbor2.dumps(
        {0: 1, 1: thing, 2: secrets.token_bytes(16), 3: int(time.time()) + expires, 4: action, 5: None}
    )
    return seal(Header(kid, number, "vitro-command", COMMAND), payload, key)


def sent(installation: Installation, thing: str, *action: str) -> dict[str, Any]:
    """What the command line says of a command and its reply."""
    done = run(installation, VITRO, "device", "command", thing, *action, "--json")
    assert done.stdout, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer | {"code": done.returncode}


def test_the_customers_key_commands_a_device_once(auth_installation: Installation, agent: Agent) -> None:
    """Signed in KMS by the command line; the agent answers, and the signed answer is archived."""
    thing = agent.device.thing
    asked = sent(auth_installation, thing, "backfill", "0", "--wait", "60")
    assert (asked["code"], asked["reply"]["status"], asked["reply"]["result"]) == (0, DONE, {"count": 1}), asked
    shown = vitro(auth_installation, "device", "reply", thing, asked["id"])
    assert shown == asked["reply"]
    key = f"replies/{thing}/{asked['id']}.cbor"
    stored = auth_installation.client("s3").get_object(Bucket=auth_installation.archive, Key=key)["Body"].read()
    reply = parse(stored)
    assert reply.header.kid == thing
    assert cbor2.loads(reply.payload)[1].hex() == asked["id"]
    # An expired one is answered, and nothing is done.
    late = sent(auth_installation, thing, "backfill", "0", "--expires", "0", "--wait", "60")
    assert (late["code"], late["reply"]["status"]) == (1, EXPIRED)
    # Each has a number above the last.
    assert late["number"] > asked["number"]
    missing = run(auth_installation, VITRO, "device", "reply", thing, "00" * 16)
    assert missing.returncode == 3, missing.stderr


def test_nobody_else_commands_a_device(
    auth_installation: Installation,
    registrar: Registrar,
    agent: Agent,
    unique: Callable[[str], str],
    tmp_path: Path,
) -> None:
    thing = agent.device.thing
    keys = vitro(auth_installation, "command-key", "show")
    kid = keys["current"]["id"]
    thief = Key.generate()
    number = 1 << 60
    # The cloud's own command for another device, which its signature does not help here.
    other = registrar.device(unique("other"))
    foreign = tmp_path / "foreign.cbor"
    vitro(auth_installation, "device", "command", other.thing, "seal", "--out", foreign)
    good = tmp_path / "good.cbor"
    vitro(auth_installation, "device", "command", thing, "backfill", "0", "--out", good)

    unsigned = parse(good.read_bytes())
    agent.ignores(cbor2.dumps(cbor2.loads(unsigned.payload)), "not_an_envelope")
    agent.ignores(seal_raw(unsigned.protected, unsigned.payload, thief), "bad_signature")
    agent.ignores(attack.flipped(good.read_bytes()), "bad_signature")
    agent.ignores(command(thing, number, thief, kid), "bad_signature")
    # Another customer's key signs under its own name.
    agent.ignores(command(thing, number, thief, "0123456789abcdef"), "unknown_command_key")
    agent.ignores(foreign.read_bytes(), "other_device")
    agent.ignores(agent.device.envelope(0), "wrong_kind")

    # After all of these the good one still counts, since none of their numbers did; and it counts once.
    agent.send(good.read_bytes())
    wait.until("the command to be carried out", lambda: agent.heard('action="backfill"') == 1, SECONDS, 0.1)
    for _ in range(3):
        agent.ignores(good.read_bytes(), "repeated_command")
    assert agent.heard('action="backfill"') == 1


def test_a_rotation_reaches_devices_by_their_next_key(
    auth_installation: Installation, registrar: Registrar, unique: Callable[[str], str], tmp_path: Path
) -> None:
    device = registrar.device(unique("meter"), RECORDING.with_suffix(".toml"), "--poll-interval", "2")
    before = vitro(auth_installation, "command-key", "show")
    assert json.loads((device.folder / "command-keys.json").read_text()) == before
    with running(device, tmp_path):
        after = vitro(auth_installation, "command-key", "rotate")
        assert after["current"] == before["next"]
        assert after["next"]["id"] not in (before["current"]["id"], before["next"]["id"])
        answered = sent(auth_installation, device.thing, "backfill", "0", "--wait", "60")
        assert (answered["code"], answered["reply"]["status"]) == (0, DONE), answered
    done = run(auth_installation, VITRO, "command-key", "install", device.folder)
    assert done.returncode == 0, done.stderr
    assert json.loads((device.folder / "command-keys.json").read_text()) == after
    # The old key signs nothing any more.
    kms = auth_installation.client("kms")
    described = kms.describe_key(KeyId=f"alias/{auth_installation.name('command-key-previous')}")["KeyMetadata"]
    assert (described["KeyState"], described["KeySpec"]) == ("Disabled", "ECC_NIST_P256")


def test_only_the_function_that_sends_commands_may_sign(auth_installation: Installation) -> None:
    """Its role is named by the key; no role's own policy gives a right to it."""
    vitro(auth_installation, "command-key", "new")
    kms, iam = auth_installation.client("kms"), auth_installation.client("iam")
    alias = f"alias/{auth_installation.name('command-key')}"
    arn = kms.describe_key(KeyId=alias)["KeyMetadata"]["Arn"]
    policy = json.loads(kms.get_key_policy(KeyId=arn, PolicyName="default")["Policy"])
    signers = [statement for statement in policy["Statement"] if "kms:Sign" in statement["Action"]]
    assert [statement["Principal"]["AWS"].rpartition("/")[2] for statement in signers] == [
        auth_installation.name("reconcile")
    ]
    assert signers[0]["Action"] == ["kms:Sign", "kms:GetPublicKey"]
    for role in ("ingest", "summarize", "publish", "heartbeat", "bill", "reconcile"):
        name = auth_installation.name(role)
        for inline in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            document = json.dumps(iam.get_role_policy(RoleName=name, PolicyName=inline)["PolicyDocument"])
            assert "kms:" not in document, role
