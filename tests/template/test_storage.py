"""Tables, buckets and secrets: what AWS must do with what is stored."""

from __future__ import annotations

from template.model import Template

KEYS = {
    "ReadingsTable": [("device", "S", "HASH"), ("key", "B", "RANGE")],
    "DevicesTable": [("device", "S", "HASH")],
    "IdentitiesTable": [("identity", "S", "HASH")],
    "ManifestTable": [("thing", "S", "HASH")],
    "TrustTable": [("authority", "S", "HASH")],
    "DaysTable": [("device", "S", "HASH"), ("day", "S", "RANGE")],
    "HoursTable": [("shard", "S", "HASH"), ("hour", "N", "RANGE")],
    "ParkedTable": [("reason", "S", "HASH"), ("id", "S", "RANGE")],
}


def test_tables_have_the_keys_that_the_design_gives(template: Template) -> None:
    tables = template.of_type("AWS::DynamoDB::Table")
    assert set(tables) == set(KEYS)
    for name, properties in tables.items():
        types = {a["AttributeName"]: a["AttributeType"] for a in properties["AttributeDefinitions"]}
        keys = [(k["AttributeName"], types[k["AttributeName"]], k["KeyType"]) for k in properties["KeySchema"]]
        assert keys == KEYS[name]
        assert properties["TableName"] == "P-" + name.removesuffix("Table").lower()


def test_tables_are_on_demand_encrypted_and_recoverable(template: Template) -> None:
    for properties in template.of_type("AWS::DynamoDB::Table").values():
        assert properties["BillingMode"] == "PAY_PER_REQUEST"
        assert properties["SSESpecification"] == {"SSEEnabled": True}
        assert properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


def test_only_readings_expire(template: Template) -> None:
    tables = template.of_type("AWS::DynamoDB::Table")
    expiring = {n: t["TimeToLiveSpecification"] for n, t in tables.items() if "TimeToLiveSpecification" in t}
    assert expiring == {"ReadingsTable": {"AttributeName": "expires", "Enabled": True}}


def test_silent_devices_are_found_by_a_sparse_index(template: Template) -> None:
    (index,) = template.of_type("AWS::DynamoDB::Table")["DevicesTable"]["GlobalSecondaryIndexes"]
    assert index["IndexName"] == "liveness"
    assert [key["AttributeName"] for key in index["KeySchema"]] == ["live_shard", "mark_received"]


def test_certificates_are_found_by_a_sparse_index(template: Template) -> None:
    (index,) = template.of_type("AWS::DynamoDB::Table")["IdentitiesTable"]["GlobalSecondaryIndexes"]
    assert index["IndexName"] == "issuer"
    assert [key["AttributeName"] for key in index["KeySchema"]] == ["issuer"]


def test_the_archive_cannot_be_overwritten(template: Template) -> None:
    archive = template.of_type("AWS::S3::Bucket")["ArchiveBucket"]
    assert archive["VersioningConfiguration"] == {"Status": "Enabled"}
    assert archive["ObjectLockEnabled"] is True
    retention = archive["ObjectLockConfiguration"]["Rule"]["DefaultRetention"]
    assert retention == {"Mode": "ArchiveLockMode", "Years": "ArchiveLockYears"}
    assert archive["ObjectLockConfiguration"]["ObjectLockEnabled"] == "Enabled"
    assert "LifecycleConfiguration" not in archive


def test_the_quarantine_forgets(template: Template) -> None:
    quarantine = template.of_type("AWS::S3::Bucket")["QuarantineBucket"]
    (rule,) = quarantine["LifecycleConfiguration"]["Rules"]
    assert rule["Status"] == "Enabled"
    assert rule["ExpirationInDays"] == "QuarantineDays"
    assert rule["NoncurrentVersionExpiration"]["NoncurrentDays"] >= 1


def test_buckets_are_private_encrypted_and_over_tls_only(template: Template) -> None:
    buckets = template.of_type("AWS::S3::Bucket")
    policies = {p["Bucket"]: p["PolicyDocument"] for p in template.of_type("AWS::S3::BucketPolicy").values()}
    for name, properties in buckets.items():
        assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
        assert len(properties["PublicAccessBlockConfiguration"]) == 4
        assert properties["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
        (encryption,) = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"] in ("AES256", "aws:kms")
        (statement,) = policies[name]["Statement"]
        assert statement["Effect"] == "Deny"
        assert statement["Principal"] == "*"
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        assert statement["Resource"] == [f"{name}.Arn", f"{name}.Arn/*"]


def test_evidence_and_keys_outlive_the_stack(template: Template) -> None:
    for name, resource in template.resources.items():
        if resource["Type"] in ("AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::SecretsManager::Secret"):
            assert resource["DeletionPolicy"] == "Retain", name
            assert resource["UpdateReplacePolicy"] == "Retain", name


def test_secrets_carry_no_value(template: Template) -> None:
    secrets = template.of_type("AWS::SecretsManager::Secret")
    assert {properties["Name"] for properties in secrets.values()} == {
        "P-fabric",
        "P-data-proxy",
        "P-data-proxy-retired",
    }
    for properties in secrets.values():
        assert set(properties) == {"Name", "Description"}


def test_bucket_names_fit_in_the_longest_region(template: Template) -> None:
    longest = {p: "x" * template.parameters[p]["MaxLength"] for p in ("Customer", "Stage")}
    for properties in template.of_type("AWS::S3::Bucket").values():
        name = properties["BucketName"].replace("P-", f"vitro-{longest['Customer']}-{longest['Stage']}-", 1)
        name = name.replace("${AWS::AccountId}", "1" * 12).replace("${AWS::Region}", "ap-southeast-1")
        assert len(name) <= 63
