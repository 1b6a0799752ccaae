"""Fabric's own Node client on the development ledger, with an identity that the ledger issued and the profile it prints."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import cbor2
import pytest

from stack import ledger, wait
from stack.model import REPO

pytestmark = pytest.mark.e2e
CLIENT = REPO / "tests" / "fabric_client"
PARTIES = {"operator": "OperatorMSP", "rc": "RcMSP", "dv": "DvMSP", "sp": "SpMSP"}
ROLES = cbor2.dumps({0: 1} | dict(enumerate(PARTIES.values(), start=1))).hex()
CONFIGURE = {"do": "submit", "function": "registry:configure", "args": [ROLES]}
SECONDS = 120


@dataclass
class Network:
    """A development ledger of these tests alone."""

    program: Path
    folder: Path

    def printed_profile(self, party: str) -> dict[str, Any]:
        """The connection profile that the ledger prints for a party's own clients."""
        command = [self.program, "--data-dir", self.folder, "--print-connection-profile", party]
        printed: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        return printed

    def identity(self, name: str) -> dict[str, str]:
        """An identity that the ledger issued: an organization's admin, or with `-user` its user."""
        found = json.loads((self.folder / "profiles" / f"{name}.json").read_text())["identity"]
        return {"msp": found["msp"], "certificate": found["certificate_pem"], "key": found["key_pem"]}

    def run(self, name: str, *steps: dict[str, Any]) -> list[dict[str, Any]]:
        """What Fabric's client says to each step, as an identity."""
        document = {
            "profile": self.printed_profile(name.removesuffix("-user")),
            "identity": self.identity(name),
            "channel": "mychannel",
            "chaincode": "vitro",
            "steps": steps,
        }
        results = self.folder / "results.json"
        done = subprocess.run(
            ["node", CLIENT / "client.js", results],
            input=json.dumps(document),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said: list[dict[str, Any]] = json.loads(results.read_text())
        assert len(said) == len(steps)
        return said


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    if shutil.which("node") is None and "CI" not in os.environ:
        pytest.skip("Node.js is not installed")
    program = ledger.program()
    assert program is not None, "vitro-devledger is not built"
    folder = tmp_path_factory.mktemp("network")
    process = subprocess.Popen([program, "--data-dir", folder], stderr=subprocess.DEVNULL)
    try:
        wait.until("the ledger", lambda: (folder / "ready.json").is_file(), 30, 0.05)
        yield Network(program, folder)
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(scope="module")
def configured(network: Network) -> list[dict[str, Any]]:
    """The four parties agree on their roles, each by its own admin; what Fabric's client said each time."""
    return [network.run(party, CONFIGURE)[0] for party in PARTIES]


def test_transactions_are_submitted_and_waited_for(network: Network, configured: list[dict[str, Any]]) -> None:
    agreed = [cbor2.loads(bytes.fromhex(said["payload"])) for said in configured]
    assert [len(one[2]) for one in agreed] == [1, 2, 3, 4]
    assert [one.get(1) is not None for one in agreed] == [False, False, False, True]
    # Any client of any organization reads it, and reads it in a block.
    (roles,) = network.run("sp-user", {"do": "evaluate", "function": "registry:roles"})
    assert cbor2.loads(bytes.fromhex(roles["payload"]))[1] == cbor2.loads(bytes.fromhex(ROLES))


def test_what_is_refused_is_an_error_of_the_client(network: Network, configured: list[dict[str, Any]]) -> None:
    unknown = {"do": "submit", "function": "registry:device", "args": [b"nobody".hex()]}
    alone = CONFIGURE | {"endorsers": ["OperatorMSP"]}
    refused, nobody, wrong, still = network.run(
        "operator",
        {"do": "submit", "function": "registry:configure", "args": ["00"]},
        unknown,
        {"do": "evaluate", "function": "registry:nothing"},
        {"do": "evaluate", "function": "registry:roles"},
    )
    assert "malformed: " in refused["error"]["message"]
    assert "unknown_device: " in nobody["error"]["message"]
    assert "unknown_function: " in wrong["error"]["message"]
    assert "error" not in still, "one refusal does not stop the connection"
    # A user's certificate agrees to nothing, and the operator's endorsement alone commits nothing.
    (user,) = network.run("rc-user", CONFIGURE)
    assert "wrong_identity: " in user["error"]["message"]
    (by_itself,) = network.run("operator", alone)
    assert (by_itself["error"]["name"], by_itself["error"]["code"]) == (
        "TransactionError",
        "ENDORSEMENT_POLICY_FAILURE",
    )


def test_the_blocks_are_those_of_fabric(network: Network, configured: list[dict[str, Any]]) -> None:
    (info,) = network.run("dv-user", {"do": "info"})
    (delivered,) = network.run("dv-user", {"do": "blocks", "from": 0, "to": info["height"] - 1})
    assert "error" not in delivered, delivered
    blocks = delivered["blocks"]
    assert [block["number"] for block in blocks] == list(range(info["height"]))
    hashes = [header_hash(block) for block in blocks]
    assert [block["previous"] for block in blocks[1:]] == hashes[:-1]
    assert (info["newest"], info["before"]) == (hashes[-1], blocks[-1]["previous"])
    assert all(block["signers"] == ["OrdererMSP"] for block in blocks)
    assert blocks[0]["kinds"] == ["CONFIG"]
    assert blocks[0]["organizations"] == sorted(PARTIES.values())
    found = {transaction["id"]: transaction for block in blocks for transaction in block["transactions"]}
    made = [found[said["transaction"]] for said in configured]
    assert [one["status"] for one in made] == ["VALID"] * 4
    assert [one["creator"] for one in made] == list(PARTIES.values())
    assert [one["events"] for one in made] == [[], [], [], ["configured"]]


def header_hash(block: dict[str, Any]) -> str:
    """A block's hash, from its three parts: SHA-256 of their ASN.1 sequence (BlockHeaderBytes in Fabric's protoutil)."""
    number: int = block["number"]
    body = number.to_bytes(number.bit_length() // 8 + 1, "big")
    parts = [(2, body), *((4, bytes.fromhex(block[name])) for name in ("previous", "data"))]
    inside = b"".join(bytes([tag, len(value)]) + value for tag, value in parts)
    return sha256(bytes([0x30, len(inside)]) + inside).hexdigest()
