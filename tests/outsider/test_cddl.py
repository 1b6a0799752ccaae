"""The rules of `docs/formats.md` hold for every vector, and for nothing that is refused where rules can say so."""

from __future__ import annotations

from typing import Any

import cbor2
import pycddl
import pytest

from outsider.cddl import CddlError, Rules, page_text
from outsider.test_vectors import load, un

RULES = Rules.of_page()
KINDS = {"vitro-telemetry": "telemetry-envelope", "vitro-block": "block-envelope"}


def test_the_rules_are_cddl() -> None:
    """An independent parser takes them, too."""
    pycddl.Schema(page_text())


@pytest.mark.parametrize("name", RULES.rules)
def test_every_rule_can_be_matched(name: str) -> None:
    RULES.matches(name, b"\x00")


def test_envelopes() -> None:
    for vector in load("envelopes")["vectors"]:
        data, typ = un(vector["envelope"]), vector["header"]["typ"]
        if typ == "vitro-telemetry":
            assert RULES.matches("envelope", data), vector["name"]
            assert RULES.matches("telemetry-envelope", data), vector["name"]
            if "sig_structure" in vector:
                assert RULES.matches("Sig_structure", un(vector["sig_structure"]))
        else:
            assert not RULES.matches("envelope", data), "its payload is no block, command or reply"


def test_invalid_envelopes() -> None:
    unsaid = {"tag 18 in two bytes", "larger than 131072 bytes", "kid not UTF-8"}
    for vector in load("invalid-envelopes")["vectors"]:
        assert RULES.matches("envelope", un(vector["envelope"])) == (vector["name"] in unsaid), vector["name"]


def test_packs() -> None:
    for vector in load("packs")["vectors"]:
        fits = RULES.matches("pack", un(vector["payload"]))
        if "fault" in vector:
            assert not fits, vector["name"]
        if not vector["codes"] and vector["name"] != "unknown labels ignored":
            assert fits, vector["name"]
        if "number_out_of_range" in vector["codes"] and fits:
            assert (
                "float" in vector["name"]
                or "double" in vector["name"]
                or "infinity" in vector["name"]
                or (vector["name"] in ("NaN", "every fault in its place", "base value out of range"))
            )


def test_days_and_blocks() -> None:
    for vector in load("summaries")["vectors"]:
        assert RULES.matches("summaries", un(vector["summaries"])), vector["name"]
    for vector in load("chain")["vectors"]:
        assert RULES.matches("block-message", un(vector["message"]))
        assert RULES.matches("block", un(vector["payload"]))
        assert RULES.matches("block-envelope", un(vector["envelope"]))
    for vector in load("refused-blocks")["accepted"]:
        assert RULES.matches("block-message", un(vector["message"]))
    for vector in load("refused-blocks")["vectors"]:
        if vector["reason"] == "not_a_block" and vector["name"] != "a run beyond the last number":
            assert not RULES.matches("block-message", un(vector["message"])), vector["name"]


def test_messages() -> None:
    file = load("messages")
    for vector in file["accounts"]:
        assert RULES.matches("account", un(vector["account"]))
    for vector in file["commands"]:
        assert RULES.matches("command-envelope", un(vector["envelope"]))
        if vector["action"] != "dance":
            arguments = cbor2.dumps(cbor2.loads(un(vector["payload"]))[5])
            assert RULES.matches(f"{vector['action']}-arguments", arguments)
    results = {"backfilled": "backfill", "subtree": "subtree", "sealed": "seal"}
    for vector in file["replies"]:
        assert RULES.matches("reply-envelope", un(vector["envelope"]))
        if vector["name"] in results:
            result = cbor2.dumps(cbor2.loads(un(vector["payload"]))[3])
            assert RULES.matches(f"{results[vector['name']]}-result", result)


def test_what_the_outsider_made() -> None:
    file = load("outsider")
    for vector in file["envelopes"]:
        assert RULES.matches("telemetry-envelope", un(vector["envelope"])), vector["name"]
    for vector in file["chain"]:
        assert RULES.matches("block-message", un(vector["message"]))
    for vector in file["commands"]:
        assert RULES.matches("command-envelope", un(vector["envelope"]))
    for vector in file["replies"]:
        assert RULES.matches("reply-envelope", un(vector["envelope"]))


# The reader of rules itself: what it must tell apart.
@pytest.mark.parametrize(
    ("rules", "item", "fits"),
    [
        ("a = int", 1, True),
        ("a = uint", -1, False),
        ("a = 1..3", 3, True),
        ("a = 1..3", 4, False),
        ("a = 0 / 1", True, False),
        ("a = [* int]", [1, 2], True),
        ("a = [* int]", [1, "x"], False),
        ("a = [2*3 int]", [1], False),
        ("a = [2*3 int]", [1, 2, 3, 4], False),
        ("a = [+ int, tstr]", [1, 2, "x"], True),
        ("a = [x: int, ? y: tstr]", [1], True),
        ("a = { 1: int }", {1: 2, 3: 4}, False),
        ("a = { 1: int, * (uint .ge 64) => any }", {1: 2, 64: 4, 99: "x"}, True),
        ("a = { 1: int, * (uint .ge 64) => any }", {1: 2, 63: 4}, False),
        ("a = { ? (1: int, 2: int) }", {}, True),
        ("a = { ? (1: int, 2: int) }", {1: 1}, False),
        ("a = { (1: int // 2: tstr) }", {2: "x"}, True),
        ("a = { (1: int // 2: tstr) }", {1: 1, 2: "x"}, False),
        ("a = #6.4([int, int])", cbor2.CBORTag(4, [1, 2]), True),
        ("a = #6.5([int, int])", cbor2.CBORTag(4, [1, 2]), False),
        ("a = bstr .cbor b b = [int]", cbor2.dumps([1]), True),
        ("a = bstr .cbor b b = [int]", cbor2.dumps(["x"]), False),
        ("a = bstr .size 2", b"xx", True),
        ("a = bstr .size (1..2)", b"xxx", False),
        ('a = tstr .regexp "[a-z]+"', "ab1", False),
        ("a = h'00' / \"x\" / null", b"\0", True),
        ("a = float", 1, False),
    ],
)
def test_rules(rules: str, item: Any, fits: bool) -> None:
    assert Rules(rules).matches("a", cbor2.dumps(item)) == fits


@pytest.mark.parametrize("text", ["a = ", "a = $b", "a = int a = int", "int = 1", "a = [int"])
def test_what_is_no_rule(text: str) -> None:
    with pytest.raises(CddlError):
        Rules(text)
