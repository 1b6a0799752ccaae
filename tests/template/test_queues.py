"""Queues lose nothing: retries, dead letters, and a visibility that outlasts the function."""

from __future__ import annotations

from typing import Any

from template.model import Template

# The ends of the line: what lands here waits for an operator.
LAST = {"RuleErrorsQueue"}


def sources(template: Template) -> list[tuple[str, str, dict[str, Any], int]]:
    """(function, queue, event properties, timeout) of every queue that wakes a function."""
    return [
        (name, event["Properties"]["Queue"].removesuffix(".Arn"), event["Properties"], properties["Timeout"])
        for name, properties in template.functions().items()
        for event in properties["Events"].values()
        if event["Type"] == "SQS"
    ]


def test_every_queue_has_a_dead_letter_queue(template: Template) -> None:
    queues = template.of_type("AWS::SQS::Queue")
    for name, properties in queues.items():
        if name in LAST or properties["QueueName"].endswith("-dlq"):
            assert "RedrivePolicy" not in properties
            continue
        redrive = properties["RedrivePolicy"]
        target = queues[redrive["deadLetterTargetArn"].removesuffix(".Arn")]
        assert target["QueueName"] == f"{properties['QueueName']}-dlq"
        assert redrive["maxReceiveCount"] >= 5


def test_messages_are_kept_for_two_weeks_and_encrypted(template: Template) -> None:
    for properties in template.of_type("AWS::SQS::Queue").values():
        assert properties["MessageRetentionPeriod"] == 14 * 24 * 3600
        assert properties["SqsManagedSseEnabled"] is True


def test_a_message_is_hidden_for_six_timeouts_of_its_function(template: Template) -> None:
    queues = template.of_type("AWS::SQS::Queue")
    for _, queue, properties, timeout in sources(template):
        window = properties.get("MaximumBatchingWindowInSeconds", 0)
        # Nobody waits for an ask any more after six; what AWS asks for at least is one.
        times = 1 if queue == "AsksQueue" else 6
        assert queues[queue]["VisibilityTimeout"] >= times * timeout
        assert queues[queue]["VisibilityTimeout"] > timeout + window


def test_one_bad_message_does_not_send_its_batch_back(template: Template) -> None:
    for name, _, properties, _ in sources(template):
        assert properties["FunctionResponseTypes"] == ["ReportBatchItemFailures"], name
        # Without a window AWS allows no batch above ten.
        assert properties["BatchSize"] <= 10 or properties["MaximumBatchingWindowInSeconds"] >= 1


def test_each_queue_wakes_the_function_that_the_flow_says(template: Template) -> None:
    assert {(name, queue) for name, queue, _, _ in sources(template)} == {
        ("ingest", "TelemetryQueue"),
        ("summarize", "SummarizeQueue"),
        ("reconcile", "BlocksQueue"),
        ("reconcile", "ReconcileQueue"),
        ("reconcile", "AsksQueue"),
        ("publish", "PublishQueue"),
        ("status", "StatusQueue"),
        ("register", "RegisterQueue"),
    }


def test_only_the_parties_that_are_named_may_ask_beside_the_operator(template: Template) -> None:
    (policy,) = template.of_type("AWS::SQS::QueuePolicy").values()
    assert policy["Queues"] == ["AsksQueue"]
    assert template.resources["AsksQueuePolicy"]["Condition"] == "HasAskPrincipals"
    assert template.parameters["AskPrincipals"] | {"Description": ""} == {
        "Type": "CommaDelimitedList",
        "Description": "",
        "Default": "",
    }
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert statement == {
        "Sid": "PartiesAsk",
        "Effect": "Allow",
        "Principal": {"AWS": "AskPrincipals"},
        "Action": ["sqs:GetQueueUrl", "sqs:SendMessage"],
        "Resource": "AsksQueue.Arn",
    }


def test_a_ledger_away_for_a_night_sends_nothing_to_the_dead_letters(template: Template) -> None:
    for name in ("PublishQueue", "StatusQueue", "RegisterQueue"):
        queue = template.of_type("AWS::SQS::Queue")[name]
        patience = queue["VisibilityTimeout"] * queue["RedrivePolicy"]["maxReceiveCount"]
        assert patience >= 10 * 3600, name


def test_an_ask_whose_function_was_killed_comes_again_before_it_is_over(template: Template) -> None:
    holds_at_least = 120  # AskTask::WITHIN of shared/cloud
    assert template.of_type("AWS::SQS::Queue")["AsksQueue"]["VisibilityTimeout"] <= holds_at_least - 30
