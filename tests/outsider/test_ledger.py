"""Records of the ledger: what Rust wrote is what this implementation writes of the same."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import cbor2
import pycddl
import pytest

from outsider import cbor, ledger
from outsider.test_vectors import cases, load

PAGE = Path(__file__).parents[2] / "docs" / "contract.md"


def rules() -> str:
    """The rules of the page."""
    return "\n".join(re.findall(r"```cddl\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S))


def schema(record: str) -> pycddl.Schema:
    """The rules with this one first, which is what a message is held against."""
    return pycddl.Schema(f"this = {record}\n{rules()}")


@cases("ledger")
def test_record(vector: Any) -> None:
    data = bytes.fromhex(vector["cbor"])
    assert ledger.write(vector["record"], vector["value"]) == data
    assert hashlib.sha256(data).hexdigest() == vector["sha256"]
    schema(vector["record"]).validate_cbor(data)


def test_the_hour_is_of_these_devices() -> None:
    of = {vector["name"]: vector["value"] for vector in load("ledger")["vectors"]}
    signs = [of["a device that was heard"], of["a device that never was"]]
    assert ledger.alive_root(signs).hex() == of["the hour of these two"]["root"]


def test_statements_come_to_what_they_say() -> None:
    statements = [vector for vector in load("ledger")["vectors"] if vector["record"] == "statement"]
    assert len(statements) == 3
    for vector in statements:
        ledger.check_sums(vector["value"])
    first, second, third = statements
    corrected = [one["corrects"] for one in second["value"]["corrections"]]
    assert corrected == [first["sha256"]] * 2, "it names the statement by its hash"
    assert [one["corrects"] for one in third["value"]["corrections"]] == [second["sha256"]], "who spoke last"


@pytest.mark.parametrize("record", ["agreement", "statement"])
def test_a_version_says_what_is_there(record: str) -> None:
    """Version 2 with nothing new in it is no other way to write version 1, and the rules say so where they can."""
    vector = next(one for one in load("ledger")["vectors"] if one["record"] == record)
    old = cbor2.loads(bytes.fromhex(vector["cbor"]))
    assert old[0] == 1
    with pytest.raises(pycddl.ValidationError):
        schema(record).validate_cbor(cbor.encode(old | {0: 2}))
    with pytest.raises(pycddl.ValidationError):
        schema(record).validate_cbor(cbor.encode(old | {max(old) + 1: []}))
