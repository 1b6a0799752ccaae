"""A parsed CloudFormation template.

References become text: `!Ref X` is `X`, `!GetAtt X.Arn` is `X.Arn`, and `!Sub` keeps its `${...}`, apart from
`vitro-${Customer}-${Stage}`, which is `P`. So a test says `P-readings` or `ArchiveBucket.Arn/blocks/*`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short tags."""


def _tagged(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {"Ref" if suffix == "Ref" else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _tagged)


def resolve(value: Any) -> Any:
    """Turns intrinsic functions into text, everywhere below `value`."""
    if isinstance(value, list):
        return [resolve(item) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"Ref"}:
        return value["Ref"]
    if set(value) == {"Fn::GetAtt"}:
        return value["Fn::GetAtt"]
    if set(value) == {"Fn::Sub"}:
        sub = value["Fn::Sub"]
        text, variables = (sub, {}) if isinstance(sub, str) else sub
        for name, given in variables.items():
            text = text.replace(f"${{{name}}}", str(resolve(given)))
        text = text.replace("vitro-${Customer}-${Stage}", "P")
        return re.sub(r"\$\{(\w+\.Arn)\}", r"\1", text)
    return {key: resolve(item) for key, item in value.items()}


@dataclass(frozen=True)
class Template:
    """Resources with resolved properties, by logical id."""

    parameters: dict[str, Any]
    resources: dict[str, dict[str, Any]]
    outputs: dict[str, Any]
    globals: dict[str, Any]

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """Properties of every resource of a type, by logical id."""
        return {
            name: resource.get("Properties", {})
            for name, resource in self.resources.items()
            if resource["Type"] == kind
        }

    def functions(self) -> dict[str, dict[str, Any]]:
        """Properties of the functions by their short name (`ingest`)."""
        found = self.of_type("AWS::Serverless::Function")
        return {properties["FunctionName"].removeprefix("P-"): properties for properties in found.values()}

    def environment(self, function: str) -> dict[str, str]:
        """Variables of a function, those of every function included."""
        common = self.globals["Function"]["Environment"]["Variables"]
        return {**common, **self.functions()[function].get("Environment", {}).get("Variables", {})}

    def grants(self, role: str) -> set[tuple[str, str]]:
        """Every (action, resource) that a role's own policies allow; they may hold nothing but plain allows."""
        properties = self.of_type("AWS::IAM::Role")[role]
        # Nothing else comes along, but for subnets where there are some.
        subnets = {"Fn::If": ["HasLedgerSubnets", ["LedgerNetworkPolicy"], "AWS::NoValue"]}
        assert properties.get("ManagedPolicyArns", subnets) == subnets
        pairs = set()
        for policy in properties["Policies"]:
            for statement in policy["PolicyDocument"]["Statement"]:
                assert set(statement) == {"Effect", "Action", "Resource"}, statement
                assert statement["Effect"] == "Allow"
                for action in _as_list(statement["Action"]):
                    pairs |= {(action, resource) for resource in _as_list(statement["Resource"])}
        return pairs


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def load(path: Path) -> Template:
    """Parses a template."""
    raw = yaml.load(path.read_text(), _Loader)
    return Template(raw["Parameters"], resolve(raw["Resources"]), resolve(raw["Outputs"]), resolve(raw["Globals"]))
