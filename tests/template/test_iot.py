"""Topic rules and the device policy."""

from __future__ import annotations

import pytest

from template.model import Template

IOT = "arn:${AWS::Partition}:iot:${AWS::Region}:${AWS::AccountId}:"
THING = "${!iot:Connection.Thing.ThingName}"
QUEUES = {"telemetry": "TelemetryQueue", "block": "BlocksQueue", "reply": "BlocksQueue"}


@pytest.mark.parametrize("kind", QUEUES)
def test_a_rule_hands_the_bytes_and_their_sender_to_its_queue(template: Template, kind: str) -> None:
    rules = {rule["RuleName"]: rule["TopicRulePayload"] for rule in template.of_type("AWS::IoT::TopicRule").values()}
    rule = rules[f"vitro_${{Customer}}_{kind}"]
    assert rule["Sql"] == (
        "SELECT encode(*, 'base64') AS envelope, topic(3) AS thing, topic() AS topic, clientid() AS client, "
        f"principal() AS principal, timestamp() AS received FROM 'vitro/${{Customer}}/+/{kind}'"
    )
    assert rule["AwsIotSqlVersion"] == "2016-03-23"
    assert rule["Actions"] == [{"Sqs": {"QueueUrl": QUEUES[kind], "RoleArn": "RulesRole.Arn", "UseBase64": False}}]


def test_there_are_three_rules_and_each_reports_its_failures(template: Template) -> None:
    rules = template.of_type("AWS::IoT::TopicRule").values()
    assert len(rules) == len(QUEUES)
    for rule in rules:
        error = rule["TopicRulePayload"]["ErrorAction"]
        assert error == {"Sqs": {"QueueUrl": "RuleErrorsQueue", "RoleArn": "RulesRole.Arn", "UseBase64": False}}


def test_a_device_may_speak_and_listen_as_itself_only(template: Template) -> None:
    (policy,) = template.of_type("AWS::IoT::Policy").values()
    assert policy["PolicyName"] == "P-device"
    connect, publish, subscribe, receive = policy["PolicyDocument"]["Statement"]
    own = f"vitro/${{Customer}}/{THING}"
    assert connect == {
        "Effect": "Allow",
        "Action": "iot:Connect",
        "Resource": f"{IOT}client/{THING}",
        "Condition": {"Bool": {"iot:Connection.Thing.IsAttached": "true"}},
    }
    plain = {f"{IOT}topic/{own}/{kind}" for kind in QUEUES}
    basic_ingest = {f"{IOT}topic/$aws/rules/vitro_${{Customer}}_{kind}/{own}/{kind}" for kind in QUEUES}
    assert publish["Action"] == "iot:Publish"
    assert set(publish["Resource"]) == plain | basic_ingest
    assert subscribe == {
        "Effect": "Allow",
        "Action": "iot:Subscribe",
        "Resource": f"{IOT}topicfilter/{own}/command",
    }
    assert receive == {"Effect": "Allow", "Action": "iot:Receive", "Resource": f"{IOT}topic/{own}/command"}
