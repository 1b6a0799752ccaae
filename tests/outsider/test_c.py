"""The C code of docs/device-c.md compiles without a warning and makes the vector byte for byte; so do the bytes on that page."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from outsider import parse, vectors
from outsider.cddl import PAGE

TEXT = PAGE.with_name("device-c.md").read_text()
VECTOR = next(
    vector
    for vector in json.loads((vectors.FOLDER / "envelopes.json").read_text())["vectors"]
    if vector["name"] == "telemetry"
)
MAIN = """
#include <stdio.h>

static void show(const char *name, const struct out *o)
{
    printf("%s ", name);
    for (size_t at = 0; at < o->used; at++)
        printf("%02x", o->data[at]);
    printf("\\n");
}

int main(void)
{
    static const uint8_t signature[64] = { SIGNATURE };
    uint8_t memory[4][256];
    struct out header = { memory[0], 256, 0 }, payload = { memory[1], 256, 0 };
    struct out structure = { memory[2], 256, 0 }, message = { memory[3], 256, 0 };
    pack(&payload, "dev-1", 1539500460000, example, 2);
    protected_header(&header, "dev-1", 42);
    sig_structure(&structure, &header, &payload);
    envelope(&message, &header, &payload, signature);
    show("protected", &header);
    show("payload", &payload);
    show("sig_structure", &structure);
    show("envelope", &message);

    /* Heads of every length, a fraction of a second, zeros that go; and a buffer that is too small is never left. */
    struct out more = { memory[0], 256, 0 }, small = { memory[1], 3, 0 };
    static const int64_t numbers[] = { 23, 24, 255, 256, 65535, 65536, 4294967295, 4294967296, INT64_MAX, -1, -257 };
    for (size_t at = 0; at < sizeof numbers / sizeof *numbers; at++)
        integer(&more, numbers[at]);
    decimal(&more, 1539500460250, -3);
    decimal(&more, -1200, -2);
    decimal(&more, 0, -4);
    show("more", &more);
    memory[1][3] = 0xee;
    text(&small, "too long");
    printf("small %02x\\n", small.used > small.size ? memory[1][3] : 0);
    return 0;
}
"""
MORE = (
    "17181818ff19010019ffff1a000100001affffffff1b00000001000000001b7fffffffffffffff20390100c482211b00000023d82347492b00"
)


def of_page(kind: str) -> str:
    """The blocks of the page of one kind, one after another."""
    return "\n".join(re.findall(rf"^```{kind}\n(.*?)^```", TEXT, re.M | re.S))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the program says, by name."""
    folder = tmp_path_factory.mktemp("c")
    signature = ", ".join(f"0x{byte:02x}" for byte in bytes.fromhex(VECTOR["signature"]))
    source = folder / "device.c"
    source.write_text(of_page("c") + MAIN.replace("SIGNATURE", signature))
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-pedantic"]
    subprocess.run(["cc", *flags, "-o", folder / "device", source], check=True)
    said = subprocess.run([folder / "device"], check=True, capture_output=True, text=True).stdout
    return dict(line.split(" ", 1) for line in said.splitlines())


def test_the_code_makes_the_vector(made: dict[str, str]) -> None:
    assert made["payload"] == VECTOR["payload"]
    assert made["sig_structure"] == VECTOR["sig_structure"]
    assert made["envelope"] == VECTOR["envelope"]
    assert parse(bytes.fromhex(made["envelope"])).protected.hex() == made["protected"]
    assert made["small"] == "ee"


def test_the_code_writes_every_number_in_its_one_form(made: dict[str, str]) -> None:
    assert made["more"] == MORE


@pytest.mark.parametrize("name", ["protected", "sig_structure", "hash", "envelope"])
def test_the_bytes_on_the_page_are_the_vectors(name: str, made: dict[str, str]) -> None:
    assert (
        of_page(f"hex {name}").replace("\n", "").replace(" ", "") == (VECTOR | {"protected": made["protected"]})[name]
    )


def test_the_sizes_on_the_page_are_right(made: dict[str, str]) -> None:
    sizes = {name: len(made[name]) // 2 for name in ("protected", "payload", "sig_structure", "envelope")}
    both = sizes["protected"] + sizes["payload"]
    assert sizes["protected"] == 30 + len("dev-1") + 2
    assert sizes["sig_structure"] == 17 + both == 111
    assert sizes["envelope"] == 73 + both == 167
