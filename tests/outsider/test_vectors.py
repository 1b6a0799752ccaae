"""What the product wrote, read by this implementation: every vector of `tests/vectors/` that Rust made."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import cbor2
import pytest
from pycose.messages.sign1message import Sign1Message

from outsider import (
    Header,
    Key,
    Refused,
    block,
    cbor,
    chains,
    confidential,
    keys,
    merkle,
    messages,
    parse,
    seal,
    senml,
    summary,
)
from outsider import vectors as made_here
from outsider.senml import Reading, Table

FOLDER = Path(__file__).parents[1] / "vectors"


def load(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def cases(name: str, key: str = "vectors") -> pytest.MarkDecorator:
    """One parameter a vector."""
    return pytest.mark.parametrize("vector", [pytest.param(v, id=v["name"]) for v in load(name)[key]])


def un(value: str | dict[str, Any]) -> bytes:
    """The bytes of a vector's field."""
    if isinstance(value, str):
        return bytes.fromhex(value)
    return bytes.fromhex(value["head"]) + bytes(value["zeros"]) + bytes.fromhex(value["tail"])


PUBLIC = {key["name"]: un(key["public"]) for key in load("keys")["keys"]}


def code(call: Any, *arguments: Any) -> str | None:
    """The code with which something is refused; None if it is not."""
    try:
        call(*arguments)
    except Refused as fault:
        return fault.code
    return None


def test_keys() -> None:
    for key in load("keys")["keys"]:
        assert Key.test(key["name"]).public == un(key["public"])
        assert Key.from_scalar(un(key["private"])).public == un(key["public"])


@cases("envelopes")
def test_envelope(vector: Any) -> None:
    opened = parse(un(vector["envelope"]))
    header = vector["header"]
    assert opened.header == Header(header["kid"], header["number"], header["typ"], header["content"])
    assert opened.leaf.hex() == vector["leaf"]
    assert opened.hash.hex() == vector["hash"]
    assert (len(opened.data), opened.units) == (vector["bytes"], vector["units"])
    assert opened.signature.hex() == vector["signature"]
    assert opened.verifies(PUBLIC[vector["key"]]) == vector["verifies"]
    if "payload" in vector:
        assert opened.payload == un(vector["payload"])
        assert opened.sig_structure == un(vector["sig_structure"])
    # pycose reads it by itself, too.
    message = Sign1Message.decode(opened.data)
    message.key = Key.test(vector["key"]).cose()
    assert message.verify_signature() == vector["verifies"]
    assert message.phdr_encoded == opened.protected


def test_signing_the_same_gives_the_same_bytes() -> None:
    """Both sign by RFC 6979 and write deterministically, so even the bytes are equal."""
    others = ("high-s-twin", "long-heads", "shuffled-header")
    alike = [v for v in load("envelopes")["vectors"] if v["verifies"] and v["name"] not in others]
    assert len(alike) == 12
    for vector in alike:
        opened = parse(un(vector["envelope"]))
        assert seal(opened.header, opened.payload, Key.test(vector["key"])) == opened.data, vector["name"]


def test_the_worked_example() -> None:
    reading = [Reading("energy", "kWh", Decimal("3.0903")), Reading("temp", "Cel", None)]
    pack = senml.write("dev-1", 1_539_500_460_000, reading)
    example = load("envelopes")["vectors"][0]
    assert seal(Header("dev-1", 42), pack, Key.test("dev-1")).hex() == example["envelope"]
    page = (FOLDER.parents[1] / "docs" / "formats.md").read_text(encoding="utf-8")
    assert example["leaf"] in page
    assert example["hash"] in page
    # The dump on the page is the example, byte for byte.
    dump = page.split("```text\nD2 ")[1].split("```")[0]
    digits = "".join(
        "".join(word for word in line[:46].split()) if len(line) < 79 or line[46] != " " else line[:46].replace(" ", "")
        for line in ("D2 " + dump).splitlines()[:-2]
    )
    tail = "".join(line.split()[0] for line in dump.splitlines()[-2:])
    assert (digits + tail).lower() == example["envelope"]


@cases("invalid-envelopes")
def test_invalid_envelope(vector: Any) -> None:
    assert code(parse, un(vector["envelope"])) == vector["reason"]


@cases("signatures")
def test_signature(vector: Any) -> None:
    message, signature = un(vector["message"]), un(vector["signature"])
    assert keys.verifies(un(vector["public_key"]), message, signature) == vector["valid"]


PROXY = Key.from_scalar(un(load("confidential")["key"]["private"]))
PROXY_KEYS = {load("confidential")["key"]["id"]: PROXY}


@cases("confidential")
def test_confidential(vector: Any) -> None:
    """Every step, once by the primitives and once by pycose alone."""
    data, thing, number = un(vector["sealed"]), vector["thing"], vector["number"]
    sealed = confidential.parse(data)
    assert PROXY.public == un(load("confidential")["key"]["public"])
    assert sealed.nonce == un(vector["nonce"])
    assert sealed.ephemeral == Key.from_scalar(un(vector["ephemeral_private"])).public
    assert confidential.external_data(thing, number) == un(vector["external_data"])
    assert sealed.kdf_context == un(vector["kdf_context"])
    assert sealed.enc_structure(thing, number) == un(vector["enc_structure"])
    secret = confidential.shared_secret(sealed.ephemeral, PROXY)
    assert secret == un(vector["shared_secret"])
    assert confidential.content_key(secret, sealed.kdf_context) == un(vector["content_key"])
    inside = confidential.PACK if vector["inside"] == "pack" else confidential.OPENING
    assert confidential.unseal(data, thing, number, PROXY_KEYS, inside) == un(vector["clear"])
    assert confidential.unseal_by_pycose(data, thing, number, PROXY) == un(vector["clear"])
    # With the same randomness pycose makes the very same bytes.
    once = (Key.from_scalar(un(vector["ephemeral_private"])), un(vector["nonce"]))
    recipient = (sealed.recipient, PROXY.public)
    assert confidential.seal(thing, number, un(vector["clear"]), recipient, inside, once) == data


def test_confidential_messages() -> None:
    file = load("confidential")
    opened = parse(un(file["envelope"]))
    assert (opened.header.content, opened.header.number) == (96, 42)
    assert opened.verifies(PUBLIC["dev-1"])
    assert opened.payload == un(file["vectors"][0]["sealed"])
    clear = confidential.reveal_block(un(file["block_message"]), "dev-1", 0, PROXY_KEYS)
    assert clear == un(file["clear_block_message"])


@cases("confidential", "refused")
def test_what_does_not_decrypt(vector: Any) -> None:
    found = code(confidential.unseal, un(vector["sealed"]), "dev-1", vector["number"], PROXY_KEYS)
    assert found == vector["reason"]


@pytest.mark.parametrize("vector", load("merkle")["vectors"], ids=lambda vector: str(vector["count"]))
def test_tree(vector: Any) -> None:
    count = vector["count"]
    leaves = [hashlib.sha256(b"\0" + i.to_bytes(8, "big")).digest() for i in range(count)]
    root = merkle.root(leaves)
    assert root.hex() == vector["root"]
    for proof in vector["proofs"]:
        path, index, leaf = [un(node) for node in proof["path"]], proof["index"], un(proof["leaf"])
        assert leaf == leaves[index]
        assert path == merkle.path(leaves, index)
        assert merkle.included(leaf, index, count, path, root)
        assert not merkle.included(leaf, (index + 1) % count, count, path, root) or count == 1
        assert not merkle.included(leaf, index, count, [*path, root], root)
        assert not merkle.included(leaf, index, count, path[:-1], root) or not path


PACKS = load("packs")
PACK_TABLE = Table.from_json(PACKS["table"])


@cases("packs")
def test_pack(vector: Any) -> None:
    payload, thing = un(vector["payload"]), PACKS["thing"]
    assert senml.codes(payload, thing, PACK_TABLE) == set(vector["codes"])
    if "fault" in vector:
        assert code(senml.read, payload, thing) == vector["fault"]
        return
    records = senml.read(payload, thing)
    assert len(records) == len(vector["records"])
    for record, wanted in zip(records, vector["records"], strict=True):
        if isinstance(record, senml.Fault):
            assert wanted == {"fault": record.code}
            continue
        assert (record.sensor, record.unit, record.millis) == (wanted["sensor"], wanted["unit"], wanted["time"])
        if isinstance(record.value, Decimal):
            assert record.value == Decimal(wanted["value"]["number"])
        else:
            assert (record.value or "missing") == wanted["value"]
    times = [record.millis for record in records if isinstance(record, senml.Record)]
    assert max(times, default=None) == vector["newest"]


def test_every_fault_has_a_vector() -> None:
    told = {code for vector in PACKS["vectors"] for code in vector["codes"]}
    packs = "unreadable_pack too_many_records foreign_name unknown_sensor unit_mismatch no_value several_values"
    values = "not_a_number number_out_of_range sum_only relative_time bad_time duplicate_record"
    assert told == {*packs.split(), *values.split()}
    # `encrypted`, `outside_day` and `decrease` need more than a pack: they are in summaries.json.
    told = {vector["reason"] for vector in load("invalid-envelopes")["vectors"]}
    forms = "not_an_envelope too_large trailing_bytes wrong_algorithm unknown_header wrong_kind bad_content_type"
    assert told == set(forms.split())
    told = {vector["reason"] for vector in load("refused-blocks")["vectors"]} - told - {"bad_signature"}
    blocks = "not_a_block block_other_device digest_mismatch bad_day_length not_contiguous broken_chain bad_opening"
    assert told == {*blocks.split(), "bad_summaries"}, "fork and bad_label are told by the cloud, which knows more"


@cases("summaries")
def test_summaries(vector: Any) -> None:
    days = load("summaries")
    table = Table.from_json(days["table"])
    run = [parse(un(data)) for data in vector["envelopes"]]
    assert all(one.verifies(PUBLIC["dev-1"]) for one in run)
    assert [one.header.number for one in run] == [vector["first"] + at for at in range(len(run))]
    assert merkle.root([one.leaf for one in run]).hex() == vector["root"]
    assert (sum(len(one.data) for one in run), sum(one.units for one in run)) == (vector["bytes"], vector["units"])
    openings = {name: Decimal(value) for name, value in vector["openings"].items()}
    made = summary.summarize(run, table, vector["from"], vector["to"], openings, days["thing"])
    assert cbor.encode(made).hex() == vector["summaries"]
    assert summary.digest(un(vector["salt"]), cbor.encode(made)).hex() == vector["digest"]
    # The order in which envelopes come does not matter, and what is read is what was written.
    again = summary.summarize(reversed(run), table, vector["from"], vector["to"], openings, days["thing"])
    assert cbor.encode(again) == cbor.encode(made)
    assert cbor.encode(summary.decode(un(vector["summaries"]))).hex() == vector["summaries"]
    if vector["name"] != "uneven-bounds":
        assert block.bounds(vector["day"], vector["zone"]) == (vector["from"], vector["to"])


def test_chain() -> None:
    file = load("chain")
    chain: list[block.Block] = []
    for vector in file["vectors"]:
        opened = block.open_message(un(vector["message"]), file["thing"], PUBLIC["dev-1"])
        block.follows(opened, chain)
        assert (opened.number, opened.hash.hex()) == (vector["number"], vector["hash"])
        fields, payload = vector["block"], opened.payload
        assert payload[2].hex() == fields["previous"]
        assert (payload[5], payload[6], payload[7], payload[8]) == tuple(
            fields[key] for key in ("day", "zone", "from", "to")
        )
        # The same block is made once more, to the byte.
        run = [parse(un(data)) for data in vector["envelopes"]]
        interval = (fields["from"], fields["to"])
        day = block.Day(file["thing"], fields["day"], fields["zone"], interval, run, Table.from_json(file["table"]))
        salt, key = un(vector["salt"]), Key.test("dev-1")
        made = block.make(day, opened.number, chain, salt, key, interim=fields["daily"] is None)
        assert made.hex() == vector["message"]
        chain.append(opened)
    assert [one.daily for one in chain] == [True, True, False, True]


def _judge(message: bytes) -> None:
    file = load("chain")
    chain = [block.open_message(un(v["message"]), file["thing"], PUBLIC["dev-1"]) for v in file["vectors"][:3]]
    block.follows(block.open_message(message, file["thing"], PUBLIC["dev-1"]), chain)


@cases("refused-blocks")
def test_refused_block(vector: Any) -> None:
    assert code(_judge, un(vector["message"])) == vector["reason"]


@cases("refused-blocks", "accepted")
def test_accepted_block(vector: Any) -> None:
    _judge(un(vector["message"]))


@cases("messages", "accounts")
def test_account(vector: Any) -> None:
    account = messages.read_account(un(vector["account"]))
    assert (account.thing, account.day, account.block) == (vector["thing"], vector["day"], vector["block"])
    assert (account.first, account.count) == (vector["first"], vector["count"])
    assert (account.root.hex(), account.digest.hex()) == (vector["root"], vector["digest"])
    assert (account.healed, account.missing) == (vector["healed"], vector["missing"])


@cases("messages", "commands")
def test_command(vector: Any) -> None:
    opened = parse(un(vector["envelope"]))
    assert opened.verifies(PUBLIC["command-1"])
    assert opened.header.number == vector["number"]
    command = messages.read_command(opened.payload)
    assert (command.thing, command.id.hex(), command.expires) == (vector["thing"], vector["id"], vector["expires"])
    assert command.action == vector["action"]
    texts = [part.hex() if isinstance(part, bytes) else part for part in command.arguments or []]
    assert (texts or None) == vector["arguments"]
    assert command.seal(vector["number"], "command-1", Key.test("command-1")) == opened.data


@cases("messages", "replies")
def test_reply(vector: Any) -> None:
    opened = parse(un(vector["envelope"]))
    assert opened.verifies(PUBLIC["dev-1"])
    reply = messages.read_reply(opened.payload)
    assert (reply.command.hex(), reply.status) == (vector["command"], vector["status"])
    parts = reply.result if isinstance(reply.result, list) else [reply.result]
    told = [part.hex() if isinstance(part, bytes) else part for part in parts]
    assert (told if isinstance(reply.result, list) else told[0]) == vector["result"]
    assert reply.seal(vector["number"], "dev-1", Key.test("dev-1")) == opened.data


def test_the_strict_reader_agrees_with_cbor2() -> None:
    """Where this package's own reader takes an item, cbor2 reads the same."""

    def plain(item: Any) -> Any:
        if isinstance(item, cbor.Map):
            return {plain(key): plain(value) for key, value in item}
        if isinstance(item, list):
            return [plain(part) for part in item]
        if isinstance(item, cbor.Tag):
            return cbor.read_num(item) if item.number == 4 else (item.number, plain(item.value))
        return item

    for vector in load("chain")["vectors"]:
        for field in ("message", "payload", "summaries"):
            assert plain(cbor.decode(un(vector[field]))) == cbor2.loads(un(vector[field]))


def test_what_is_made_here_is_current() -> None:
    assert made_here.make() == load("outsider")


def test_the_chains_made_here_are_current() -> None:
    assert chains.make() == load("chains")
