"""Alarms and the dashboard."""

from __future__ import annotations

import json

from template.model import Template

# What the dashboard shows of the namespace Vitro. Equivocations and late messages are among the refusals.
METRICS = {
    *("MessagesStored", "Duplicates", "Refused", "Flagged", "GapsLive"),
    *("BlocksAccepted", "BlocksPending", "BackfillsAsked"),
    *("DaysMatched", "DaysBackfilled", "DaysIncomplete", "DaysMismatched", "DaysMissing"),
    *("DaysPublished", "DaysParked", "DaysRetried", "StatementsIssued"),
    *("HoursSaid", "HoursUnsaid"),
    *("InterimPublished", "SealsAsked", "AsksRefused"),
    *("StatusApplied", "StatusParked"),
    *("DevicesRegistered", "CertificatesRenewed", "RegistrationsRefused", "RegistrationsRetried"),
    *("DevicesRevoked", "CrlsAccepted", "CrlFaults", "AuthoritiesWithoutList"),
}
ALARMED = {
    *("Refused", "Equivocations", "GapsLive", "DaysParked", "DaysRetried"),
    *("DaysMismatched", "DaysIncomplete", "DaysMissing", "StatusParked", "HoursUnsaid"),
    *("RegistrationsRefused", "CrlFaults", "AuthoritiesWithoutList"),
}


def alarms(template: Template, namespace: str, metric: str | None = None) -> dict[str, str]:
    """Value of the alarm's dimension -> its metric, for the alarms of a namespace."""
    found = {}
    for alarm in template.of_type("AWS::CloudWatch::Alarm").values():
        if alarm["Namespace"] == namespace and metric in (None, alarm["MetricName"]):
            (dimension,) = alarm["Dimensions"]
            found[alarm["MetricName"] if namespace == "Vitro" else dimension["Value"]] = dimension["Value"]
    return found


def test_every_dead_letter_and_rule_error_rings(template: Template) -> None:
    ends = {
        f"{name}.QueueName"
        for name, queue in template.of_type("AWS::SQS::Queue").items()
        if "RedrivePolicy" not in queue
    }
    assert set(alarms(template, "AWS/SQS", "ApproximateNumberOfMessagesVisible")) == ends
    assert set(alarms(template, "AWS/SQS", "ApproximateAgeOfOldestMessage")) == {"PublishQueue.QueueName"}


def test_every_function_that_fails_rings(template: Template) -> None:
    functions = set(template.of_type("AWS::Serverless::Function"))
    assert set(alarms(template, "AWS/Lambda", "Errors")) == functions


def test_refusals_gaps_and_days_that_go_wrong_ring(template: Template) -> None:
    assert alarms(template, "Vitro") == dict.fromkeys(ALARMED, "P")


def test_days_that_keep_coming_again_ring_long_before_they_are_dead_letters(template: Template) -> None:
    (alarm,) = [
        alarm for alarm in template.of_type("AWS::CloudWatch::Alarm").values() if alarm["MetricName"] == "DaysRetried"
    ]
    queue = template.of_type("AWS::SQS::Queue")["PublishQueue"]
    hidden, longest_poll = queue["VisibilityTimeout"], 20
    batching = template.functions()["publish"]["Events"]["Publish"]["Properties"]["MaximumBatchingWindowInSeconds"]
    # A single failure is no alarm; of an outage, every period has a retry, whatever their phase.
    assert alarm["EvaluationPeriods"] > 1
    assert "DatapointsToAlarm" not in alarm
    assert alarm["Period"] > hidden + longest_poll + batching
    until_dead = hidden * queue["RedrivePolicy"]["maxReceiveCount"]
    assert alarm["Period"] * (alarm["EvaluationPeriods"] + 1) < until_dead / 5


def test_alarms_reach_the_topic_and_silence_is_no_alarm(template: Template) -> None:
    for alarm in template.of_type("AWS::CloudWatch::Alarm").values():
        assert alarm["AlarmActions"] == ["AlarmTopic"]
        assert alarm["OKActions"] == ["AlarmTopic"]
        assert alarm["TreatMissingData"] == "notBreaching"
        assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
        assert alarm["AlarmDescription"]


def test_the_dashboard_shows_every_metric_and_every_alarm(template: Template) -> None:
    (dashboard,) = template.of_type("AWS::CloudWatch::Dashboard").values()
    widgets = json.loads(dashboard["DashboardBody"])["widgets"]
    rows = [row for w in widgets if w["type"] == "metric" for row in w["properties"]["metrics"]]
    assert {row[1] for row in rows if row[0] == "Vitro"} == METRICS
    assert {row[3] for row in rows if row[0] == "Vitro"} == {"P"}
    (shown,) = [w["properties"]["alarms"] for w in widgets if w["type"] == "alarm"]
    names = {arn.rpartition(":alarm:")[2] for arn in shown}
    assert names == {alarm["AlarmName"] for alarm in template.of_type("AWS::CloudWatch::Alarm").values()}


def test_the_dashboards_widgets_do_not_overlap(template: Template) -> None:
    (dashboard,) = template.of_type("AWS::CloudWatch::Dashboard").values()
    taken: set[tuple[int, int]] = set()
    for widget in json.loads(dashboard["DashboardBody"])["widgets"]:
        columns = range(widget["x"], widget["x"] + widget["width"])
        rows = range(widget["y"], widget["y"] + widget["height"])
        cells = {(x, y) for x in columns for y in rows}
        assert max(columns) < 24
        assert not taken & cells, widget["properties"].get("title")
        taken |= cells
