"""A network is found by the calls of Managed Blockchain: AWS's own client and `vitro` ask the development ledger."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from stack import StackInfo, wait
from stack.ledger import program as ledger_program
from stack.model import REPO

pytestmark = pytest.mark.e2e
PARTIES = {"operator": "OperatorMSP", "rc": "RcMSP", "dv": "DvMSP", "sp": "SpMSP"}
VITRO = REPO / "target" / "debug" / "vitro"


@pytest.fixture(scope="module")
def found(new_stack: Callable[..., StackInfo]) -> StackInfo:
    """A stack whose ledger nobody else configures."""
    return new_stack()


@pytest.fixture(scope="module")
def ledger(found: StackInfo) -> dict[str, Any]:
    assert found.ledger is not None
    return found.ledger


@pytest.fixture(scope="module")
def network(ledger: dict[str, Any]) -> str:
    return str(ledger["managed_blockchain"]["network"])


def service(ledger: dict[str, Any], account: str) -> Any:
    """AWS's own client, as one of the ledger's accounts."""
    session = boto3.session.Session(aws_access_key_id=account, aws_secret_access_key="x", region_name="eu-central-1")
    return session.client("managedblockchain", endpoint_url=ledger["managed_blockchain"]["endpoint_url"])


def code(call: Callable[..., Any], **arguments: str) -> str:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return str(caught.value.response["Error"]["Code"])


def test_aws_own_client_reads_every_answer(ledger: dict[str, Any], network: str) -> None:
    client = service(ledger, "local")
    described = client.get_network(NetworkId=network)["Network"]
    assert (described["Framework"], described["Status"]) == ("HYPERLEDGER_FABRIC", "AVAILABLE")
    orderer = described["FrameworkAttributes"]["Fabric"]["OrderingServiceEndpoint"]
    assert orderer == f"{ledger['host']}:{ledger['orderer']['port']}"
    assert described["VpcEndpointServiceName"].endswith(network.lower())

    first = client.list_members(NetworkId=network, MaxResults=3)
    rest = client.list_members(NetworkId=network, MaxResults=3, NextToken=first["NextToken"])
    assert "NextToken" not in rest
    members = {member["Name"]: member for member in first["Members"] + rest["Members"]}
    assert {name: member["Id"] for name, member in members.items()} == PARTIES
    assert all(member["IsOwned"] for member in members.values())

    for name, msp in PARTIES.items():
        member = client.get_member(NetworkId=network, MemberId=msp)["Member"]
        assert (member["NetworkId"], member["Name"], member["Status"]) == (network, name, "AVAILABLE")
        (listed,) = client.list_nodes(NetworkId=network, MemberId=msp)["Nodes"]
        node = client.get_node(NetworkId=network, MemberId=msp, NodeId=listed["Id"])["Node"]
        peer = node["FrameworkAttributes"]["Fabric"]["PeerEndpoint"]
        assert peer == f"{ledger['host']}:{ledger['peers'][name]['port']}"
        assert (node["Id"], node["MemberId"], node["Status"]) == (listed["Id"], msp, "AVAILABLE")
    assert client.list_nodes(NetworkId=network, MemberId="RcMSP", Status="CREATING")["Nodes"] == []


def test_errors_are_those_of_the_service(ledger: dict[str, Any], network: str) -> None:
    client = service(ledger, "rc")
    (mine,) = client.list_members(NetworkId=network, IsOwned=True)["Members"]
    assert mine["Id"] == "RcMSP"
    (node,) = client.list_nodes(NetworkId=network, MemberId="RcMSP")["Nodes"]
    missing = "ResourceNotFoundException"
    assert code(client.get_network, NetworkId="n-NONE") == missing
    assert code(client.list_members, NetworkId="n-NONE") == missing
    assert code(client.get_member, NetworkId=network, MemberId="m-NONE") == missing
    assert code(client.get_node, NetworkId=network, MemberId="RcMSP", NodeId="nd-NONE") == missing
    assert code(client.get_member, NetworkId=network, MemberId="DvMSP") == "AccessDeniedException"
    assert code(client.list_nodes, NetworkId=network, MemberId="DvMSP") == "AccessDeniedException"
    invalid = "InvalidRequestException"
    assert code(client.get_node, NetworkId=network, NodeId=node["Id"]) == invalid
    assert code(client.list_nodes, NetworkId=network) == invalid
    assert code(client.list_members, NetworkId=network, NextToken="x") == invalid
    assert code(client.get_network, NetworkId="n-" + "A" * 40) == invalid


@pytest.fixture(scope="module")
def run(found: StackInfo) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`vitro ledger …` as one of the ledger's accounts."""

    def call(
        *arguments: str | Path, account: str = "local", endpoint: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        environment |= found.environment() | {"AWS_ACCESS_KEY_ID": account, "VITRO_CUSTOMER": "acme"}
        if endpoint is not None:
            environment["AWS_ENDPOINT_URL_MANAGEDBLOCKCHAIN"] = endpoint
        command = [VITRO, "ledger", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

    return call


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def profiles(
    run: Run, ledger: dict[str, Any], network: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Each party finds its own part; everybody makes a profile of all parts and its own identity."""
    folder = tmp_path_factory.mktemp("parts")
    parts = {name: folder / f"{name}.part.json" for name in PARTIES}
    for name, part in parts.items():
        done = run(
            "discover", "--network", network, "--tls-ca", ledger["tls_chain"], "--out", part, "--json", account=name
        )
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert [member["id"] for member in told["members"] if member["owned"]] == [PARTIES[name]]
        assert [peer["msp"] for peer in told["part"]["peers"]] == [PARTIES[name]]
        assert told["part"] == json.loads(part.read_text())
    made = {name: folder / f"{name}.json" for name in PARTIES}
    for name, profile in made.items():
        identity = ledger["profiles"][name]
        options = ("--operator", "OperatorMSP", "--identity", identity, "--out", profile)
        done = run("make-profile", *parts.values(), *options)
        assert done.returncode == 0, done.stderr
        assert "AND('OperatorMSP.peer', OutOf(2, 'DvMSP.peer', 'RcMSP.peer', 'SpMSP.peer'))" in done.stdout
        assert profile.stat().st_mode & 0o777 == 0o600
    return made


def test_the_found_network_takes_transactions_and_queries(run: Run, profiles: dict[str, Path]) -> None:
    for profile in profiles.values():
        done = run("--profile", profile, "configure-roles", "--json")
        assert done.returncode == 0, done.stderr
    done = run("--profile", profiles["sp"], "status", "--json")
    assert done.returncode == 0, done.stderr
    status = json.loads(done.stdout)
    assert status["roles"]["in_force"]["operator"] == "OperatorMSP"
    assert status["chain"]["height"] == 5
    done = run("--profile", profiles["dv"], "devices", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, []), done.stderr


def test_the_profile_is_the_one_that_the_ledger_wrote(profiles: dict[str, Path], ledger: dict[str, Any]) -> None:
    """But for names and for one file of authorities instead of one each."""
    for name, profile in profiles.items():
        made, written = (json.loads(Path(path).read_text()) for path in (profile, ledger["profiles"][name]))
        assert made["identity"] == written["identity"]
        assert [peer["address"] for peer in made["orderers"]] == [peer["address"] for peer in written["orderers"]]
        here, there = ({(peer["msp"], peer["address"]) for peer in one["peers"]} for one in (made, written))
        assert here == there
        plans = [one["endorsers"]["any_of"][0] for one in (made, written)]
        assert (made["endorsers"]["required"], plans[0]["count"]) == (written["endorsers"]["required"], 2)
        assert sorted(plans[0]["of"]) == sorted(plans[1]["of"])


def test_what_cannot_be_found_is_told_and_writes_nothing(
    run: Run, ledger: dict[str, Any], network: str, tmp_path: Path
) -> None:
    out = tmp_path / "part.json"
    chain = ("--tls-ca", str(ledger["tls_chain"]), "--out", str(out))
    for arguments, exit_code, text in [
        (("--network", "n-NONE", *chain), 3, "no network n-NONE"),
        (("--network", network, "--member", "m-NONE", *chain), 3, "no member m-NONE"),
        (("--network", network, "--member", "DvMSP", *chain), 1, "another account"),
        (("--network", network, "--tls-ca", ledger["profiles"]["rc"], "--out", str(out)), 1, "no certificate"),
    ]:
        done = run("discover", *arguments, account="rc")
        assert (done.returncode, text in done.stderr) == (exit_code, True), done.stderr
        assert "PRIVATE" not in done.stderr + done.stdout
    assert not out.exists()


def test_only_a_part_is_replaced(run: Run, profiles: dict[str, Path], ledger: dict[str, Any], network: str) -> None:
    part = profiles["sp"].with_name("sp.part.json")
    again = ("discover", "--network", network, "--tls-ca", ledger["tls_chain"], "--out")
    before = part.read_text()
    assert run(*again, part, account="sp").returncode == 1, "it is there"
    part.write_text(json.dumps(json.loads(before) | {"peers": []}))
    done = run(*again, part, "--replace", account="sp")
    assert (done.returncode, part.read_text()) == (0, before), done.stderr
    profile = profiles["sp"].read_text()
    done = run(*again, profiles["sp"], "--replace", account="sp")
    assert (done.returncode, profiles["sp"].read_text()) == (1, profile)


def test_one_part_alone_makes_no_profile(run: Run, profiles: dict[str, Path], ledger: dict[str, Any]) -> None:
    part = profiles["rc"].with_name("rc.part.json")
    out = part.with_name("alone.json")
    identity = ("--identity", ledger["profiles"]["rc"], "--out", out)
    done = run("make-profile", part, "--operator", "OperatorMSP", *identity)
    assert done.returncode == 1
    assert "OperatorMSP must endorse and has no peer" in done.stderr
    assert not out.exists()


def test_a_part_with_a_second_organization_or_junk_makes_no_profile(
    run: Run, profiles: dict[str, Path], ledger: dict[str, Any], tmp_path: Path
) -> None:
    parts = {name: profiles[name].with_name(f"{name}.part.json") for name in PARTIES}
    own = json.loads(parts["rc"].read_text())
    (peer,) = own["peers"]
    second = peer | {"msp": "Rc2MSP", "name": "rc2", "address": "https://127.0.0.1:1"}
    out, changed = tmp_path / "made.json", tmp_path / "rc.part.json"
    make = ("make-profile", *(parts | {"rc": changed}).values(), "--identity", ledger["profiles"]["dv"], "--out", out)
    for peers, text in (
        ([peer, second], "peers of 4 organizations (DvMSP, Rc2MSP, RcMSP, SpMSP)"),
        ([peer | {"tls_ca_pem": "junk"}], "its authorities for TLS are no certificates"),
    ):
        changed.write_text(json.dumps(own | {"peers": peers}))
        done = run(*make, "--operator", "OperatorMSP")
        assert (done.returncode, text in done.stderr, out.exists()) == (1, True, False), done.stderr
    # Who names the policy has it, whatever the parts hold.
    changed.write_text(json.dumps(own | {"peers": [peer, second]}))
    done = run(*make, "--required", "OperatorMSP", "--any-of", "2:RcMSP,DvMSP,SpMSP", "--json")
    assert done.returncode == 0, done.stderr
    assert "Rc2MSP" not in json.loads(done.stdout)["policy"]


def test_nodes_that_want_to_know_who_connects(run: Run, tmp_path: Path) -> None:
    program = ledger_program()
    assert program is not None
    folder = tmp_path / "ledger"
    flags = ("--require-client-certificates", "--managed-blockchain-port", "0")
    process = subprocess.Popen([program, "--data-dir", folder, *flags], stderr=subprocess.DEVNULL)
    try:
        wait.until("the ledger", lambda: (folder / "ready.json").is_file(), 30, 0.05)
        ready = json.loads((folder / "ready.json").read_text())
        found = ready["managed_blockchain"]
        part = tmp_path / "part.json"
        chain = ("--tls-ca", ready["tls_chain"])
        done = run("discover", "--network", found["network"], *chain, "--out", part, endpoint=found["endpoint_url"])
        assert done.returncode == 0, done.stderr

        whole = json.loads(Path(ready["profiles"]["rc"]).read_text())
        identity, tls = tmp_path / "identity.json", tmp_path / "tls.json"
        for path, held in ((identity, whole["identity"]), (tls, whole["client_tls"] | {"msp": "RcMSP"})):
            path.write_text(json.dumps(held))
            path.chmod(0o600)
        make = ("make-profile", part, "--operator", "OperatorMSP", "--identity", identity, "--out")
        shown, hidden = tmp_path / "shown.json", tmp_path / "hidden.json"
        assert run(*make, shown, "--client-tls", tls).returncode == 0
        assert run(*make, hidden).returncode == 0
        done = run("--profile", shown, "status")
        assert done.returncode == 0, done.stderr
        assert run("--profile", hidden, "status").returncode == 75
    finally:
        process.terminate()
        process.wait(timeout=30)
