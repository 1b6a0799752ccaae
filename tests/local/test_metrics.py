"""Metrics out of log lines, and the picture of the dashboard."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from stack import Installation, emf, wait
from stack.dashboard import expand, read, render, total


def line(**document: object) -> str:
    """An EMF log line with two sets of dimensions."""
    directive = {
        "Namespace": "Vitro",
        "Dimensions": [["Stack"], ["Stack", "Reason"]],
        "Metrics": [{"Name": "Refused", "Unit": "Count"}],
    }
    return json.dumps({"_aws": {"Timestamp": 1_700_000_000_000, "CloudWatchMetrics": [directive]}, **document})


def test_a_line_gives_a_metric_a_set_of_dimensions() -> None:
    found = list(emf.metrics(line(Stack="s", Reason="late", Refused=[2, 3]), 0))
    assert [(m.dimensions, m.values) for m in found] == [
        ({"Stack": "s"}, (2.0, 3.0)),
        ({"Stack": "s", "Reason": "late"}, (2.0, 3.0)),
    ]
    assert {(m.namespace, m.name, m.unit, m.timestamp) for m in found} == {("Vitro", "Refused", "Count", 1.7e9)}


def test_a_set_whose_dimension_is_absent_gives_none() -> None:
    assert [m.dimensions for m in emf.metrics(line(Stack="s", Refused=1), 0)] == [{"Stack": "s"}]


@pytest.mark.parametrize(
    "text", ["", "START RequestId", '{"_aws"', '{"_aws": 1}', '{"_aws": {"CloudWatchMetrics": [{}]}}', line(Stack="s")]
)
def test_an_ordinary_or_broken_line_gives_nothing(text: str) -> None:
    assert list(emf.metrics(text, 0)) == []


def test_rows_may_repeat_the_row_above() -> None:
    rows = expand([["N", "A", "Stack", "s"], ["...", "t", {"label": "x"}], [".", "B", ".", "."]])
    assert rows == [
        ("N", "A", {"Stack": "s"}, {}),
        ("N", "A", {"Stack": "t"}, {"label": "x"}),
        ("N", "B", {"Stack": "t"}, {}),
    ]


def test_the_picture_shows_what_was_measured(bare: Installation, tmp_path: Path) -> None:
    cloudwatch = bare.client("cloudwatch")
    now = dt.datetime.now(dt.UTC)
    for minutes, value in ((1, 2.0), (20, 1.0)):
        cloudwatch.put_metric_data(
            Namespace="Vitro",
            MetricData=[
                {
                    "MetricName": "StatementsIssued",
                    "Dimensions": [{"Name": "Stack", "Value": bare.prefix}],
                    "Timestamp": now - dt.timedelta(minutes=minutes),
                    "Value": value,
                }
            ],
        )
    dashboard = read(bare.info, bare.prefix, now - dt.timedelta(hours=1), now)
    (series,) = [s for w in dashboard.widgets for s in w.series if s.label == "statements"]
    assert total(series, "Sum") == 3.0
    picture = tmp_path / "dashboard.png"
    render(dashboard, picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert set(dashboard.alarms.values()) <= {"OK", "ALARM", "INSUFFICIENT_DATA"}


def test_an_alarm_rings_for_its_own_customer_and_stops(bare: Installation) -> None:
    # Somebody else's gap is none of ours.
    for owner, value in (("vitro-somebody-else", 1.0), (bare.prefix, 0.0)):
        bare.client("cloudwatch").put_metric_data(
            Namespace="Vitro",
            MetricData=[
                {"MetricName": "DaysParked", "Dimensions": [{"Name": "Stack", "Value": owner}], "Value": value}
            ],
        )
    wait.until("the alarm to be evaluated", lambda: bare.alarms()["days-parked"] == "OK", 30)


def test_an_alarm_of_several_periods_wants_data_in_each(bare: Installation) -> None:
    def retried(*minutes_ago: int) -> None:
        now = dt.datetime.now(dt.UTC)
        bare.client("cloudwatch").put_metric_data(
            Namespace="Vitro",
            MetricData=[
                {
                    "MetricName": "DaysRetried",
                    "Dimensions": [{"Name": "Stack", "Value": bare.prefix}],
                    "Timestamp": now - dt.timedelta(minutes=minutes),
                    "Value": 1.0,
                }
                for minutes in minutes_ago
            ],
        )

    # The ledger was away for a moment.
    retried(1, 2, 25)
    bare.client("cloudwatch").set_alarm_state(
        AlarmName=f"{bare.prefix}-days-retried", StateValue="INSUFFICIENT_DATA", StateReason="to be evaluated anew"
    )
    states = wait.until(
        "the alarm to be evaluated", lambda: {bare.alarms()["days-retried"]} - {"INSUFFICIENT_DATA"}, 30
    )
    assert states == {"OK"}
    # And now it is away for good: a try every twelve minutes.
    retried(13, 37)
    wait.until("the alarm to ring", lambda: bare.alarms()["days-retried"] == "ALARM", 30)
