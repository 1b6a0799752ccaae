"""Every function with exactly its own role, every device with exactly its own policy: the whole way, enforced."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal

import pytest

from e2e.conftest import VISIBILITY
from e2e.support import observe, whole_day
from e2e.support.devices import Registrar, yesterday
from e2e.support.parties import Parties
from outsider import attack, publish
from stack import Installation, StackError, wait

pytestmark = pytest.mark.e2e
FUNCTIONS = ("ingest", "summarize", "reconcile", "heartbeat", "publish", "bill", "status", "register", "trust")
QUEUES = ("telemetry", "blocks", "summarize", "reconcile", "publish", "status", "register")
DEAD = (*(f"{queue}-dlq" for queue in QUEUES), "rule-errors")


@pytest.fixture(scope="module")
def registrar(auth_installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Registrar:
    """Provisions devices where policies are enforced."""
    auth_installation.set_visibility(VISIBILITY)
    return Registrar(auth_installation, tmp_path_factory.mktemp("devices"))


@pytest.fixture(scope="module")
def parties(auth_installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Parties:
    """The four parties on that installation's ledger."""
    return Parties(auth_installation, tmp_path_factory.mktemp("parties"))


def denials(installation: Installation) -> list[str]:
    """What any function was refused by its role."""
    lines = [line for function in FUNCTIONS for line in installation.logs(function)]
    return [line for line in lines if "AccessDenied" in line or "not authorized" in line]


def test_the_whole_way_with_every_policy_enforced(
    auth_installation: Installation, registrar: Registrar, parties: Parties, unique: Callable[[str], str]
) -> None:
    installation, day, agreement = auth_installation, yesterday(), unique("agreement")
    sites = [whole_day.site(registrar, unique(stem), day, "roles") for stem in ("first", "second")]
    silent, cloned = registrar.device(unique("silent")), registrar.device(unique("cloned"))
    dead = {queue: installation.waiting(queue) for queue in DEAD}
    things = [site.thing for site in sites]
    parties.register(*things, silent.thing, cloned.thing)
    parties.agree(agreement, [f"point-{thing}" for thing in things], day, "0.25")

    # ingest: stored, refused, evidence. reconcile and summarize: compared, asked for, told.
    running = [whole_day.replay(sites[0], day), whole_day.replay(sites[1], day, "--lose", "5-7")]
    sent, _, _ = silent.day(day, 3, "roles")
    silent.send([*sent, attack.forged(sent[0])])
    theirs, _, _ = cloned.day(day, 3, "roles")
    second = attack.equivocation(theirs[0], cloned.key)
    cloned.send(theirs)
    # Before the registry's mark has moved, an environment that did not store the first one sees the second at the close of the day only.
    heard = lambda: "mark_number" in observe.row(installation, "devices", device=cloned.thing)  # noqa: E731
    wait.until("the registry to have heard of it", heard, 60, 0.2)
    cloned.send([second])
    for site, process in zip(sites, running, strict=True):
        process.communicate(timeout=whole_day.SECONDS + 10)
        assert process.returncode == 0, (site.device.folder / "agent.log").read_text() + "\n".join(
            denials(installation)
        )
    rows = [whole_day.published(installation, thing, day) for thing in things]
    assert [row["outcome"] for row in rows] == ["matched", "backfilled"]
    told = wait.until("the forgery to be kept", lambda: observe.refusals(installation, silent.thing), 60, 0.5)
    assert [reason for reason, _ in told] == ["bad_signature"]
    wait.until("the evidence", lambda: second in observe.readings(installation, cloned.thing).get(0, []), 60, 0.5)
    status = lambda: observe.row(installation, "devices", device=cloned.thing).get("status")  # noqa: E731
    wait.until("its suspension", lambda: status() == "suspended", 60, 0.5)

    # reconcile: a block that is refused, and one that waits in the archive for the one before it.
    silent.send([b"garbage"], "block")
    wait.until("the garbage to be kept", lambda: len(observe.refusals(installation, silent.thing)) == 2, 60, 0.5)
    early, first_day = registrar.device(unique("early")), whole_day.day_before(day)
    days = [early.day(each, 6, "roles") for each in (first_day, day)]
    for envelopes, _, _ in days:
        early.send(envelopes)
    early.send([days[1][1]], "block")
    wait.until(
        "the later block to wait",
        lambda: "pending_block" in observe.row(installation, "days", device=early.thing, day=day),
        60,
        0.2,
    )
    early.send([days[0][1]], "block")
    for each in (first_day, day):
        assert observe.settled(installation, early.thing, each)["outcome"] == "matched"

    # heartbeat: the silent one and the others, by index and readings, and gaps opened.
    marked = observe.row(installation, "devices", device=silent.thing)
    answer = installation.invoke("heartbeat", {"now": marked["mark_received"] + 3 * 3_600_000})
    assert {silent.thing, *things} <= {gap["device"] for gap in answer["gaps"]}
    # The deadline, by the registry and the days.
    end = whole_day.midnight_after(day)
    answer = installation.invoke("summarize", {"deadline": True, "now": (end + 7 * 3600) * 1000})
    assert answer["closed"] >= 1, json.dumps(answer)
    assert observe.settled(installation, silent.thing, day)["outcome"] == "missing"
    whole_day.published(installation, silent.thing, day)

    # publish and bill: the ledger's answers and the statement, archived.
    for site in sites:
        found = whole_day.figures(installation, parties, site, day, agreement)
        assert set(found.values()) == {site.increase}
    issued = installation.invoke("bill", {"agreement": agreement, "from": day, "to": day})
    assert Decimal(issued["quantity"]) == sum(site.increase for site in sites)
    archive = installation.client("s3").list_objects_v2(Bucket=installation.archive, Prefix="statements/")
    assert issued["key"] in [found["Key"] for found in archive["Contents"]]

    for queue in QUEUES:
        wait.until(f"{queue} to be empty", lambda q=queue: installation.waiting(q) == 0, 30, 0.5)
    assert {queue: installation.waiting(queue) for queue in DEAD} == dead
    assert denials(installation) == []


def test_roles_are_enforced_here(auth_installation: Installation) -> None:
    """Without its policy a function is refused, so what passes above passes by its role."""
    iam, role = auth_installation.client("iam"), auth_installation.name("heartbeat")
    (policy,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    document = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
    iam.delete_role_policy(RoleName=role, PolicyName=policy)
    try:
        with pytest.raises(StackError, match=r"AccessDenied|not authorized"):
            auth_installation.invoke("heartbeat", {"now": 0})
    finally:
        iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(document))
    auth_installation.invoke("heartbeat", {"now": 0})


def test_a_provisioned_device_speaks_for_itself_alone(
    auth_installation: Installation, registrar: Registrar, unique: Callable[[str], str]
) -> None:
    """The files of `vitro device new` open the device's own topics, under its own name, and nothing else."""
    device, victim = registrar.device(unique("meter")), registrar.device(unique("victim"))
    info, customer = auth_installation.info, auth_installation.customer
    data = device.envelope(0)

    def attempt(client: str, topic: str, timeout: float = 2) -> None:
        publish.publish(info.mqtt_host, info.mqtt_port, device.folder, client, topic, [data], timeout=timeout)

    for topic in (
        publish.topic_of(customer, victim.thing, "telemetry"),
        publish.topic_of(customer, victim.thing, "telemetry", basic_ingest=True),
        publish.topic_of(customer, victim.thing, "block"),
        publish.topic_of("globex", device.thing, "telemetry"),
        f"vitro/{customer}/{device.thing}/command",
    ):
        with pytest.raises(publish.PublishError):
            attempt(device.thing, topic)
    with pytest.raises(publish.PublishError):
        attempt(victim.thing, device.topic())
    attempt(device.thing, device.topic(), timeout=20)
    wait.until("its own message", lambda: observe.readings(auth_installation, device.thing) == {0: [data]}, 60, 0.2)
    assert observe.readings(auth_installation, victim.thing) == {}
    for thing in (device.thing, victim.thing):
        assert observe.parked(auth_installation, thing) == []
