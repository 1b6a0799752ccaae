"""What a chaincode is linked from."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

# C and assembler from outside the Rust compiler: they do not belong into a program that every party runs on its peer.
FORBIDDEN = ("aws-lc-rs", "aws-lc-sys", "aws-lc-fips-sys", "ring", "openssl-sys", "cc")


def crates(repo: Path, edges: str) -> set[str]:
    tree = ["tree", "--locked", "--package", "vitro-chaincode", "--edges", edges, "--prefix", "none", "--format", "{p}"]
    listed = subprocess.run(
        [os.environ.get("CARGO", "cargo"), *tree], cwd=repo, check=True, capture_output=True, text=True
    )
    return {line.split()[0] for line in listed.stdout.splitlines() if line.strip()}


def test_the_chaincode_holds_neither_aws_lc_nor_ring(repo: Path) -> None:
    linked = crates(repo, "normal,build")
    assert {"fabric-shim", "vitro-contract", "p256", "rustls-graviola"} <= linked
    assert not linked & set(FORBIDDEN)


def test_the_check_would_see_them(repo: Path) -> None:
    assert "aws-lc-sys" in crates(repo, "normal,dev,build")
