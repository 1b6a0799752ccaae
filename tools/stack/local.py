"""What the emulator does not take from the template, set by API after a deployment.

On AWS the template alone does all of this, and tests/template checks that it says so; here it is repeated so
that a local run meets the same rules (an archive that cannot be overwritten, items that expire).
"""

from __future__ import annotations

from stack import aws
from stack.model import StackInfo


def complete(info: StackInfo, stack_name: str) -> None:
    """Applies Object Lock, lifecycle, encryption, time to live and point-in-time recovery to a deployed stack."""
    ids = aws.physical_ids(info, stack_name)
    stacks = aws.client(info, "cloudformation").describe_stacks(StackName=stack_name)["Stacks"]
    parameters = {p["ParameterKey"]: p["ParameterValue"] for p in stacks[0]["Parameters"]}
    _buckets(info, ids, parameters)
    _tables(info, ids)


def _buckets(info: StackInfo, ids: dict[str, str], parameters: dict[str, str]) -> None:
    s3 = aws.client(info, "s3")
    s3.put_object_lock_configuration(
        Bucket=ids["ArchiveBucket"],
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {
                "DefaultRetention": {
                    "Mode": parameters["ArchiveLockMode"],
                    "Years": int(parameters["ArchiveLockYears"]),
                }
            },
        },
    )
    s3.put_bucket_lifecycle_configuration(
        Bucket=ids["QuarantineBucket"],
        LifecycleConfiguration={
            "Rules": [
                {
                    "ID": "expire",
                    "Status": "Enabled",
                    "Filter": {"Prefix": ""},
                    "Expiration": {"Days": int(parameters["QuarantineDays"])},
                    "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
                    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
                }
            ]
        },
    )
    for bucket in ("ArchiveBucket", "QuarantineBucket"):
        s3.put_bucket_encryption(
            Bucket=ids[bucket],
            ServerSideEncryptionConfiguration={
                "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
            },
        )


def _tables(info: StackInfo, ids: dict[str, str]) -> None:
    dynamodb = aws.client(info, "dynamodb")
    for table in (name for name in ids if name.endswith("Table")):
        dynamodb.update_continuous_backups(
            TableName=ids[table],
            PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True},
        )
    readings = ids["ReadingsTable"]
    described = dynamodb.describe_time_to_live(TableName=readings)["TimeToLiveDescription"]
    # Enabling it twice is an error.
    if described["TimeToLiveStatus"] not in ("ENABLED", "ENABLING"):
        dynamodb.update_time_to_live(
            TableName=readings,
            TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires"},
        )
