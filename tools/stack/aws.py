"""boto3 clients of a local stack."""

from __future__ import annotations

from typing import Any

import boto3
from botocore.config import Config

from stack.model import LOCAL_ACCESS_KEY, LOCAL_SECRET_KEY, StackInfo


def client(info: StackInfo, service: str) -> Any:
    """A client of one service, with the emulator's root credentials and nothing from the host's settings."""
    session = boto3.session.Session(
        aws_access_key_id=LOCAL_ACCESS_KEY,
        aws_secret_access_key=LOCAL_SECRET_KEY,
        region_name=info.region,
    )
    return session.client(
        service,
        endpoint_url=info.endpoint_url,
        verify=info.ca_path if info.tls else None,
        config=Config(retries={"max_attempts": 2}, s3={"addressing_style": "path"}),
    )


def outputs(info: StackInfo, stack_name: str) -> dict[str, str]:
    """Outputs of a deployed CloudFormation stack."""
    stacks = client(info, "cloudformation").describe_stacks(StackName=stack_name)["Stacks"]
    return {out["OutputKey"]: out["OutputValue"] for out in stacks[0].get("Outputs", [])}


def physical_ids(info: StackInfo, stack_name: str) -> dict[str, str]:
    """Physical id of each logical resource of a deployed CloudFormation stack."""
    pages = client(info, "cloudformation").get_paginator("list_stack_resources")
    return {
        resource["LogicalResourceId"]: resource["PhysicalResourceId"]
        for page in pages.paginate(StackName=stack_name)
        for resource in page["StackResourceSummaries"]
    }
