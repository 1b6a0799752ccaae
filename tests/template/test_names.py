"""Two customers, or two stages, in one account never meet: their names differ everywhere."""

from __future__ import annotations

import re

from template.model import Template

# Property that holds the name of a resource, by type; types that are named by their parents are not here.
NAMES = {
    "AWS::DynamoDB::Table": "TableName",
    "AWS::S3::Bucket": "BucketName",
    "AWS::SQS::Queue": "QueueName",
    "AWS::SNS::Topic": "TopicName",
    "AWS::SecretsManager::Secret": "Name",
    "AWS::IAM::Role": "RoleName",
    "AWS::IAM::ManagedPolicy": "ManagedPolicyName",
    "AWS::IoT::Policy": "PolicyName",
    "AWS::Serverless::Function": "FunctionName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::CloudWatch::Alarm": "AlarmName",
    "AWS::CloudWatch::Dashboard": "DashboardName",
}
UNNAMED = {"AWS::S3::BucketPolicy", "AWS::SNS::Subscription", "AWS::SQS::QueuePolicy"}


def test_every_name_has_customer_and_stage(template: Template) -> None:
    for logical, resource in template.resources.items():
        kind = resource["Type"]
        if kind == "AWS::IoT::TopicRule":
            # Devices publish to rules by name, and they know their customer alone.
            assert resource["Properties"]["RuleName"].startswith("vitro_${Customer}_")
        elif kind not in UNNAMED:
            name = resource["Properties"][NAMES[kind]]
            assert re.match(r"(/aws/lambda/)?P(-|$)", name), logical


def test_names_are_unique(template: Template) -> None:
    names = [
        (resource["Type"], resource["Properties"][NAMES[resource["Type"]]])
        for resource in template.resources.values()
        if resource["Type"] in NAMES
    ]
    assert len(set(names)) == len(names)


def test_names_of_customers_are_what_topics_and_buckets_can_hold(template: Template) -> None:
    assert template.parameters["Customer"]["AllowedPattern"] == "[a-z][a-z0-9]{1,15}"
    assert template.parameters["Stage"]["AllowedPattern"] == "[a-z][a-z0-9]{0,7}"


def test_nothing_names_an_account_or_a_region(template: Template) -> None:
    text = repr(template.resources)
    assert not re.search(r"\b\d{12}\b", text)
    assert not re.search(r"\b(us|eu|ap|sa|ca)-[a-z]+-\d\b", text)
    assert "arn:aws:" not in text
