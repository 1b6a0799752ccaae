"""The functions, their settings and what wakes them."""

from __future__ import annotations

from pathlib import Path

from template.model import Template

COMMON = {"VITRO_CUSTOMER", "VITRO_STAGE"}

# Each function gets what it uses and nothing else.
ENVIRONMENT = {
    "ingest": {
        *("VITRO_READINGS_TABLE", "VITRO_DEVICES_TABLE", "VITRO_DAYS_TABLE", "VITRO_PARKED_TABLE"),
        *(
            "VITRO_QUARANTINE_BUCKET",
            "VITRO_ARCHIVE_BUCKET",
            "VITRO_HOT_DAYS",
            "VITRO_STATUS_QUEUE_URL",
            "VITRO_FAILURES_TO_SUSPEND",
            "VITRO_DATA_KEYS_SECRET",
        ),
    },
    "summarize": {
        *("VITRO_READINGS_TABLE", "VITRO_DEVICES_TABLE", "VITRO_DAYS_TABLE", "VITRO_ARCHIVE_BUCKET"),
        *("VITRO_SUMMARIZE_QUEUE_URL", "VITRO_RECONCILE_QUEUE_URL", "VITRO_DEADLINE_HOURS"),
        *("VITRO_DATA_KEYS_SECRET", "VITRO_RETIRED_KEYS_SECRET"),
    },
    "reconcile": {
        *("VITRO_READINGS_TABLE", "VITRO_DEVICES_TABLE", "VITRO_DAYS_TABLE", "VITRO_PARKED_TABLE"),
        *("VITRO_ARCHIVE_BUCKET", "VITRO_QUARANTINE_BUCKET"),
        *("VITRO_SUMMARIZE_QUEUE_URL", "VITRO_PUBLISH_QUEUE_URL", "VITRO_STATUS_QUEUE_URL", "VITRO_ASKS_QUEUE_URL"),
        "VITRO_SEAL_SECONDS",
        *("VITRO_IOT_ENDPOINT", "VITRO_COMMAND_KEY", "VITRO_SETTLE_SECONDS", "VITRO_BACKFILL_ATTEMPTS"),
        *("VITRO_DATA_KEYS_SECRET", "VITRO_RETIRED_KEYS_SECRET"),
    },
    "heartbeat": {
        *("VITRO_READINGS_TABLE", "VITRO_DEVICES_TABLE", "VITRO_LIVENESS_MINUTES"),
        *("VITRO_HOURS_TABLE", "VITRO_ARCHIVE_BUCKET", "VITRO_PUBLISH_QUEUE_URL"),
    },
    "publish": {
        "VITRO_DAYS_TABLE",
        "VITRO_HOURS_TABLE",
        "VITRO_PARKED_TABLE",
        "VITRO_ARCHIVE_BUCKET",
        "VITRO_FABRIC_SECRET",
    },
    "bill": {"VITRO_ARCHIVE_BUCKET", "VITRO_FABRIC_SECRET"},
    "register": {
        *("VITRO_DEVICES_TABLE", "VITRO_IDENTITIES_TABLE", "VITRO_MANIFEST_TABLE", "VITRO_TRUST_TABLE"),
        *("VITRO_PARKED_TABLE", "VITRO_ARCHIVE_BUCKET", "VITRO_QUARANTINE_BUCKET", "VITRO_READINGS_TABLE"),
        *("VITRO_STATUS_QUEUE_URL", "VITRO_FABRIC_SECRET", "VITRO_DEVICE_POLICY"),
    },
    "trust": {
        *("VITRO_TRUST_TABLE", "VITRO_IDENTITIES_TABLE", "VITRO_DEVICES_TABLE", "VITRO_READINGS_TABLE"),
        *("VITRO_ARCHIVE_BUCKET", "VITRO_STATUS_QUEUE_URL"),
    },
    "status": {"VITRO_DEVICES_TABLE", "VITRO_PARKED_TABLE", "VITRO_FABRIC_SECRET"},
}

SCHEDULES = {
    ("summarize", "P-deadline", "rate(1 hour)", '{"deadline":true}'),
    ("heartbeat", "P-heartbeat", "rate(5 minutes)", "{}"),
    ("heartbeat", "P-hours", "cron(5 * * * ? *)", '{"hours":true}'),
    ("trust", "P-trust", "rate(${TrustMinutes} minutes)", "{}"),
    ("bill", "P-bill", "cron(0 6 * * ? *)", "{}"),
}


def test_each_function_gets_the_settings_it_uses(template: Template) -> None:
    assert set(template.functions()) == set(ENVIRONMENT)
    for name, variables in ENVIRONMENT.items():
        assert set(template.environment(name)) == COMMON | variables, name


def test_what_a_function_is_told_of_it_may_use_and_the_other_way_round(template: Template) -> None:
    for name in ENVIRONMENT:
        role = f"{name.capitalize()}Role"
        allowed = " ".join(resource for _, resource in template.grants(role))
        told = template.environment(name)
        for variable, value in told.items():
            if variable.endswith(("_TABLE", "_BUCKET")):
                assert f"{value}.Arn" in allowed, (name, variable)
            if variable.endswith("_QUEUE_URL"):
                assert ("sqs:SendMessage", f"{value}.Arn") in template.grants(role), (name, variable)
            if variable.endswith("_SECRET"):
                assert f"{value}-??????" in allowed, (name, variable)
        for action, resource in template.grants(role):
            if action.startswith(("dynamodb:", "s3:")) or action == "sqs:SendMessage":
                assert resource.partition(".")[0] in told.values(), (name, resource)


def test_functions_are_native_programs_from_the_build(template: Template) -> None:
    common = template.globals["Function"]
    assert common["Runtime"] == "provided.al2023"
    assert common["Architectures"] == ["Architecture"]
    for name, properties in template.functions().items():
        assert properties["CodeUri"] == f"target/lambda/{name}/"
        assert 3 <= properties["Timeout"] <= 900
        assert properties["Description"]


def test_logs_have_a_group_that_forgets(template: Template) -> None:
    groups = template.of_type("AWS::Logs::LogGroup")
    for name, properties in template.functions().items():
        group = groups[properties["LoggingConfig"]["LogGroup"]]
        assert group == {"LogGroupName": f"/aws/lambda/P-{name}", "RetentionInDays": "LogDays"}


def test_schedules_retry_and_keep_what_failed(template: Template) -> None:
    found = set()
    for name, properties in template.functions().items():
        for event in properties["Events"].values():
            if event["Type"] == "ScheduleV2":
                schedule = event["Properties"]
                found.add((name, schedule["Name"], schedule["ScheduleExpression"], schedule["Input"]))
                assert schedule["RoleArn"] == "SchedulesRole.Arn"
                assert schedule["DeadLetterConfig"] == {"Arn": "SchedulesDeadLetters.Arn"}
                assert schedule["RetryPolicy"]["MaximumRetryAttempts"] > 0
    assert found == SCHEDULES


def test_every_function_has_a_sample_event(template: Template, repo: Path) -> None:
    for name in template.functions():
        assert (repo / "events" / f"{name}.json").is_file(), name
