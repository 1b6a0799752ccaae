"""Days of random increments, resets, rollovers, decreases and mistakes come out the same here and in the product."""

from __future__ import annotations

import datetime
import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from outsider import block, cbor, merkle, recording, summary, vectors
from outsider.vectors import TABLE, TABLE_JSON, THING

REPO = Path(__file__).parents[2]
Summarize = Callable[[list[dict[str, Any]]], list[dict[str, str]]]


@pytest.fixture(scope="module")
def summarize() -> Summarize:
    """The product's own summaries, by a small program of the proof crate."""
    if shutil.which("cargo") is None:
        pytest.skip("there is no cargo to build the product's side")
    # The whole workspace's features, so that nothing is built anew that `make test` has built.
    build = ["cargo", "build", "--quiet", "--locked", "--workspace", "--example", "summarize"]
    subprocess.run(build, cwd=REPO, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPO / "target"))
    program = target / "debug" / "examples" / "summarize"

    def run(days: list[dict[str, Any]]) -> list[dict[str, str]]:
        text = "".join(json.dumps(day) + "\n" for day in days)
        done = subprocess.run([program], input=text, capture_output=True, text=True, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


def test_random_days(summarize: Summarize) -> None:
    days: list[dict[str, Any]] = []
    expected: list[dict[str, str]] = []
    for seed in range(40):
        rng = random.Random(seed)
        day = rng.choice(["2026-03-29", "2026-10-25", "2026-01-15"])
        start, end = block.bounds(day, "Europe/Warsaw")
        first = rng.randrange(10**6)
        envelopes = vectors.random_day(seed, start, first, rng.choice([0, 1, 7, 60]))
        openings = {"heat": Decimal("9000.25"), "gas": Decimal(5)} if rng.random() < 0.7 else {}
        made = summary.summarize(envelopes, TABLE, start, end, openings, THING)
        run = {"thing": THING, "table": TABLE_JSON, "day": day, "from": start, "to": end}
        run["openings"] = {name: str(value) for name, value in openings.items()}
        run["envelopes"] = [one.data.hex() for one in envelopes]
        days.append(run)
        root = merkle.root([one.leaf for one in envelopes]).hex()
        expected.append({"root": root, "summaries": cbor.encode(made).hex()})
    assert summarize(days) == expected
    # The days are worth something: every way to count occurs in them.
    decoded = [one for each in expected for one in summary.decode(bytes.fromhex(each["summaries"]))]
    for key in (4, 5, 13, 14, 15):
        assert any(one.get(key) for one in decoded), f"key {key} never occurs"


def test_a_random_recording(summarize: Summarize, tmp_path: Path) -> None:
    """From rows to increase, past all formats: what an outsider computes is what the product says."""
    runs: list[dict[str, Any]] = []
    expected: list[Decimal] = []
    for seed in range(8):
        rng = random.Random(f"recording {seed}")
        start, end = block.bounds("2018-10-14", "Etc/GMT+7")
        sensor = rng.choice([sensor for sensor in TABLE.sensors if sensor.counter])
        value, rows = Decimal(rng.randrange(9000, 9999)), []
        for minute in range(0, 1440, 15 if seed else 1):
            value = vectors.next_value(rng, value, Decimal(10_000))
            rows.append((start + 60 * minute, None if rng.random() < 0.1 else value))
        file = tmp_path / f"{seed}.csv"
        file.write_text("time,register\n" + "".join(f"{_rfc3339(t)},{'' if v is None else v}\n" for t, v in rows))
        expected.append(recording.increase(file, "register", sensor.resets_normal, sensor.width))
        envelopes = vectors.day_of_rows(sensor, rows)
        run = {"thing": THING, "table": TABLE_JSON, "day": "2018-10-14", "from": start, "to": end, "openings": {}}
        runs.append(run | {"envelopes": [one.data.hex() for one in envelopes]})
    answers = [summary.decode(bytes.fromhex(each["summaries"])) for each in summarize(runs)]
    assert [next(one for one in answer if one.get(3))[12].value for answer in answers] == expected


def _rfc3339(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone(datetime.timedelta(hours=-7))).isoformat()
