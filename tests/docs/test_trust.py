"""docs/trust.md: every attempt names a test that plays it, or says why none can, and every such test is there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from stack.model import REPO

PAGE = REPO / "docs" / "trust.md"
TEST = re.compile(r"`([\w./-]+\.(?:rs|py))::(\w+)`")


@dataclass(frozen=True)
class Row:
    """One attempt of the page."""

    line: int
    attempt: str
    shown_by: str


def rows() -> list[Row]:
    """The rows of the tables that have a column `shown by`."""
    found: list[Row] = []
    inside = False
    for number, line in enumerate(PAGE.read_text().splitlines(), start=1):
        if not line.startswith("|"):
            inside = False
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[-1] == "shown by":
            inside = True
        elif inside and not set(line) <= set("|- "):
            found.append(Row(number, cells[0], cells[-1]))
    return found


def is_defined(path: Path, name: str) -> bool:
    """Whether a file defines a test of this name."""
    keyword = "fn" if path.suffix == ".rs" else "def"
    return path.is_file() and re.search(rf"\b{keyword} {re.escape(name)}\(", path.read_text()) is not None


def test_the_page_is_read() -> None:
    """Every party has its attempts: the test below looks at something."""
    assert len(rows()) >= 40


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"line {row.line}")
def test_every_attempt_is_played(row: Row) -> None:
    """A row names tests that are there, or says why there is none."""
    named = TEST.findall(row.shown_by)
    assert named or row.shown_by.startswith("no test"), f"{PAGE.name}:{row.line}: {row.attempt}: {row.shown_by}"
    for path, name in named:
        assert is_defined(REPO / path, name), f"{PAGE.name}:{row.line}: {path} has no {name}"


def test_codes_are_those_of_the_reasons() -> None:
    """A code in backticks is one that docs/reasons.md or docs/contract.md explains."""
    explained = (REPO / "docs" / "reasons.md").read_text() + (REPO / "docs" / "contract.md").read_text()
    known = set(re.findall(r"`([a-z_]+)`", explained))
    codes = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", PAGE.read_text()))
    assert codes <= known, sorted(codes - known)
