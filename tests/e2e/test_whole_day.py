"""A whole small day by the real agent: what an outsider computes from the recording is what everybody says."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal

import pytest

from e2e.support import whole_day
from e2e.support.devices import Registrar, yesterday
from e2e.support.parties import Parties
from stack import Installation

pytestmark = pytest.mark.e2e
PRICE = "0.25"


def test_a_random_day_comes_out_everywhere(
    installation: Installation, registrar: Registrar, parties: Parties, unique: Callable[[str], str]
) -> None:
    seed = os.environ.get("VITRO_TEST_SEED") or secrets.token_hex(4)
    print(f"VITRO_TEST_SEED={seed} plays the same recordings again")
    day, agreement = yesterday(), unique("agreement")
    sites = [whole_day.site(registrar, unique(stem), day, seed) for stem in ("first", "second")]
    parties.register(*(site.thing for site in sites))
    parties.agree(agreement, [f"point-{site.thing}" for site in sites], day, PRICE)
    # The second one loses messages on the way, which the night heals.
    running = [whole_day.replay(sites[0], day), whole_day.replay(sites[1], day, "--lose", "3,20-24")]
    for site, process in zip(sites, running, strict=True):
        process.communicate(timeout=whole_day.SECONDS + 10)
        assert process.returncode == 0, (site.device.folder / "agent.log").read_text()
    rows = [whole_day.published(installation, site.thing, day) for site in sites]
    assert [row["outcome"] for row in rows] == ["matched", "backfilled"]
    for site in sites:
        found = whole_day.figures(installation, parties, site, day, agreement)
        assert found == dict.fromkeys(("block", "summary", "ledger", "statement"), site.increase), site.csv.read_text()
    issued = installation.invoke("bill", {"agreement": agreement, "from": day, "to": day})
    owed = sum(site.increase for site in sites) * Decimal(PRICE)
    assert Decimal(issued["total"]).scaleb(-2) == owed.quantize(Decimal("0.01"), ROUND_HALF_UP)
