"""Least privilege: every role may do exactly what is written here, on exactly these resources."""

from __future__ import annotations

from template.model import Template

SECRET = "arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:P-"
COMMANDS = "arn:${AWS::Partition}:iot:${AWS::Region}:${AWS::AccountId}:topic/vitro/${Customer}/*/command"
# A certificate's id is its hash, so no name can tell whose it is.
CERTIFICATES = "arn:${AWS::Partition}:iot:${AWS::Region}:${AWS::AccountId}:cert/*"
# Nor can that of an authority; and a device's name is the customer's choice.
AUTHORITIES = CERTIFICATES.replace(":cert/", ":cacert/")
THINGS = CERTIFICATES.replace(":cert/", ":thing/")

CONSUME = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}

# Role -> resource -> actions. A function's log group is added to each function's row.
EXPECTED: dict[str, dict[str, set[str]]] = {
    "IngestRole": {
        "TelemetryQueue.Arn": CONSUME,
        "StatusQueue.Arn": {"sqs:SendMessage"},
        "ReadingsTable.Arn": {"dynamodb:BatchWriteItem", "dynamodb:Query"},
        "DevicesTable.Arn": {"dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:UpdateItem"},
        "DaysTable.Arn": {"dynamodb:Query", "dynamodb:UpdateItem"},
        "ParkedTable.Arn": {"dynamodb:UpdateItem"},
        "QuarantineBucket.Arn/quarantine/*": {"s3:PutObject"},
        "ArchiveBucket.Arn/raw/*": {"s3:GetObject", "s3:GetObjectVersion"},
        SECRET + "data-proxy-??????": {"secretsmanager:GetSecretValue"},
    },
    "SummarizeRole": {
        "SummarizeQueue.Arn": {*CONSUME, "sqs:SendMessage"},
        "ReconcileQueue.Arn": {"sqs:SendMessage"},
        "ReadingsTable.Arn": {"dynamodb:Query"},
        "DevicesTable.Arn": {"dynamodb:GetItem", "dynamodb:Scan"},
        "DaysTable.Arn": {"dynamodb:GetItem", "dynamodb:Query", "dynamodb:UpdateItem"},
        "ArchiveBucket.Arn/blocks/*": {"s3:GetObject", "s3:GetObjectVersion"},
        "ArchiveBucket.Arn/summaries/*": {"s3:PutObject"},
        SECRET + "data-proxy-??????": {"secretsmanager:GetSecretValue"},
        SECRET + "data-proxy-retired-??????": {"secretsmanager:GetSecretValue"},
    },
    "ReconcileRole": {
        "BlocksQueue.Arn": CONSUME,
        "ReconcileQueue.Arn": CONSUME,
        "AsksQueue.Arn": {*CONSUME, "sqs:SendMessage"},
        "SummarizeQueue.Arn": {"sqs:SendMessage"},
        "PublishQueue.Arn": {"sqs:SendMessage"},
        "StatusQueue.Arn": {"sqs:SendMessage"},
        "ReadingsTable.Arn": {"dynamodb:Query"},
        "DevicesTable.Arn": {"dynamodb:GetItem", "dynamodb:UpdateItem"},
        "DaysTable.Arn": {"dynamodb:GetItem", "dynamodb:UpdateItem"},
        "ParkedTable.Arn": {"dynamodb:UpdateItem"},
        "ArchiveBucket.Arn/blocks/*": {"s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"},
        "ArchiveBucket.Arn/summaries/*": {"s3:GetObjectVersion"},
        "ArchiveBucket.Arn/accounts/*": {"s3:PutObject"},
        "ArchiveBucket.Arn/raw/*": {"s3:PutObject"},
        "ArchiveBucket.Arn/replies/*": {"s3:PutObject"},
        "QuarantineBucket.Arn/quarantine/*": {"s3:PutObject"},
        COMMANDS: {"iot:Publish"},
        SECRET + "data-proxy-??????": {"secretsmanager:GetSecretValue"},
        SECRET + "data-proxy-retired-??????": {"secretsmanager:GetSecretValue"},
    },
    "HeartbeatRole": {
        "DevicesTable.Arn/index/liveness": {"dynamodb:Query"},
        "ReadingsTable.Arn": {"dynamodb:Query"},
        "DevicesTable.Arn": {"dynamodb:GetItem", "dynamodb:Scan", "dynamodb:UpdateItem"},
        "HoursTable.Arn": {"dynamodb:PutItem", "dynamodb:Query"},
        "ArchiveBucket.Arn/alive/*": {"s3:GetObject", "s3:PutObject"},
        "PublishQueue.Arn": {"sqs:SendMessage"},
    },
    "PublishRole": {
        "PublishQueue.Arn": CONSUME,
        "HoursTable.Arn": {"dynamodb:GetItem", "dynamodb:UpdateItem"},
        "ArchiveBucket.Arn/alive/*": {"s3:GetObjectVersion"},
        "DaysTable.Arn": {"dynamodb:GetItem", "dynamodb:UpdateItem"},
        "ParkedTable.Arn": {"dynamodb:UpdateItem"},
        "ArchiveBucket.Arn/blocks/*": {"s3:GetObject", "s3:GetObjectVersion"},
        SECRET + "fabric-??????": {"secretsmanager:GetSecretValue"},
    },
    "BillRole": {
        "ArchiveBucket.Arn/statements/*": {"s3:PutObject"},
        SECRET + "fabric-??????": {"secretsmanager:GetSecretValue"},
    },
    "StatusRole": {
        "StatusQueue.Arn": CONSUME,
        "DevicesTable.Arn": {"dynamodb:GetItem", "dynamodb:UpdateItem"},
        "ParkedTable.Arn": {"dynamodb:UpdateItem"},
        CERTIFICATES: {"iot:DescribeCertificate", "iot:UpdateCertificate"},
        SECRET + "fabric-??????": {"secretsmanager:GetSecretValue"},
    },
    "RegisterRole": {
        "RegisterQueue.Arn": CONSUME,
        "DevicesTable.Arn": {"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"},
        "IdentitiesTable.Arn": {"dynamodb:GetItem", "dynamodb:PutItem"},
        "ManifestTable.Arn": {"dynamodb:GetItem"},
        "TrustTable.Arn": {"dynamodb:Scan"},
        "ParkedTable.Arn": {"dynamodb:UpdateItem"},
        "ArchiveBucket.Arn/trust/*": {"s3:GetObject"},
        "ReadingsTable.Arn": {"dynamodb:Query"},
        "StatusQueue.Arn": {"sqs:SendMessage"},
        "QuarantineBucket.Arn/quarantine/*": {"s3:PutObject"},
        CERTIFICATES: {
            *("iot:DescribeCertificate", "iot:UpdateCertificate", "iot:AttachPolicy", "iot:AttachThingPrincipal"),
        },
        AUTHORITIES: {"iot:DescribeCACertificate"},
        THINGS: {"iot:CreateThing", "iot:DescribeThing", "iot:AttachThingPrincipal"},
        SECRET + "fabric-??????": {"secretsmanager:GetSecretValue"},
    },
    "TrustRole": {
        "TrustTable.Arn": {"dynamodb:Scan", "dynamodb:UpdateItem"},
        "IdentitiesTable.Arn": {"dynamodb:BatchGetItem"},
        "IdentitiesTable.Arn/index/issuer": {"dynamodb:Query"},
        "ReadingsTable.Arn": {"dynamodb:Query"},
        "DevicesTable.Arn": {"dynamodb:GetItem", "dynamodb:UpdateItem"},
        "ArchiveBucket.Arn/trust/*": {"s3:GetObject", "s3:PutObject"},
        "StatusQueue.Arn": {"sqs:SendMessage"},
        CERTIFICATES: {"iot:UpdateCertificate"},
    },
    "RulesRole": {
        "TelemetryQueue.Arn": {"sqs:SendMessage"},
        "BlocksQueue.Arn": {"sqs:SendMessage"},
        "RegisterQueue.Arn": {"sqs:SendMessage"},
        "RuleErrorsQueue.Arn": {"sqs:SendMessage"},
    },
    "SchedulesRole": {
        "SummarizeFunction.Arn": {"lambda:InvokeFunction"},
        "HeartbeatFunction.Arn": {"lambda:InvokeFunction"},
        "BillFunction.Arn": {"lambda:InvokeFunction"},
        "TrustFunction.Arn": {"lambda:InvokeFunction"},
        "SchedulesDeadLetters.Arn": {"sqs:SendMessage"},
    },
}

SERVICES = {"RulesRole": "iot.amazonaws.com", "SchedulesRole": "scheduler.amazonaws.com"}


def expected(role: str) -> set[tuple[str, str]]:
    """The row of a role as pairs."""
    rows = dict(EXPECTED[role])
    if role not in SERVICES:
        rows[role.removesuffix("Role") + "Logs.Arn"] = {"logs:CreateLogStream", "logs:PutLogEvents"}
    return {(action, resource) for resource, actions in rows.items() for action in actions}


def test_every_role_is_in_the_table(template: Template) -> None:
    assert set(template.of_type("AWS::IAM::Role")) == set(EXPECTED)


def test_a_role_allows_what_the_table_says_and_no_more(template: Template) -> None:
    for role in EXPECTED:
        assert template.grants(role) == expected(role), role


def test_no_action_and_no_whole_service_is_a_wildcard(template: Template) -> None:
    for role in EXPECTED:
        for action, resource in template.grants(role):
            assert "*" not in action
            # A wildcard may stand for a device, an object's key or a secret's suffix, never for a resource.
            assert resource != "*"
            assert "*" not in resource.removesuffix("/*").replace("/*/command", "")


def test_only_its_own_service_takes_a_role(template: Template) -> None:
    for role, properties in template.of_type("AWS::IAM::Role").items():
        (statement,) = properties["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Principal"] == {"Service": SERVICES.get(role, "lambda.amazonaws.com")}
        if role in SERVICES:
            # No other account's rule or schedule may borrow it.
            assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": "AWS::AccountId"}}


def test_a_function_runs_under_its_own_role(template: Template) -> None:
    roles = [properties["Role"] for properties in template.functions().values()]
    assert roles == [f"{name.capitalize()}Role.Arn" for name in template.functions()]
    assert len(set(roles)) == len(roles)


def test_functions_of_the_ledger_may_run_in_subnets(template: Template) -> None:
    """Those that speak to the ledger, and no others."""
    assert (
        template.parameters["LedgerSubnets"]["Default"] == template.parameters["LedgerSecurityGroups"]["Default"] == ""
    )
    subnets = {"SubnetIds": "LedgerSubnets", "SecurityGroupIds": "LedgerSecurityGroups"}
    in_subnets = set()
    for function, properties in template.functions().items():
        role = template.of_type("AWS::IAM::Role")[f"{function.capitalize()}Role"]
        assert ("ManagedPolicyArns" in role) == ("VpcConfig" in properties)
        assert ("VpcConfig" in properties) == ("VITRO_FABRIC_SECRET" in template.environment(function)), function
        if "VpcConfig" in properties:
            assert properties["VpcConfig"] == {"Fn::If": ["HasLedgerSubnets", subnets, "AWS::NoValue"]}
            in_subnets.add(function)
    assert in_subnets == {"publish", "bill", "status", "register"}
    policy = template.resources["LedgerNetworkPolicy"]
    assert policy["Condition"] == "HasLedgerSubnets"
    statement = policy["Properties"]["PolicyDocument"]["Statement"]
    assert [set(one) for one in statement] == [{"Effect", "Action", "Resource"}]
    assert all(action.startswith("ec2:") for action in statement[0]["Action"])
