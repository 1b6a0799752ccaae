"""CDDL (RFC 8610) as far as `docs/formats.md` uses it: reads its rules and holds CBOR against them.

Not there, and refused by the parser: sockets and plugs, generics, unwrapping, enumerations, floats and text ranges.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from outsider import cbor
from outsider.cbor import CborError, Map, Tag, is_int

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
TOKEN = re.compile(
    r"""(?P<skip>[\s,]+|;[^\n]*)|(?P<text>"[^"]*")|(?P<hex>h'[0-9a-fA-F]*')|(?P<tag>\#6\.\d+)
    |(?P<occur>\d+\*\d*|\*\d+|[?*+](?=[\s(\[{"\w#-]))|(?P<range>\.\.)|(?P<control>\.[a-z]+)|(?P<int>-?\d+)
    |(?P<name>[A-Za-z_][\w-]*)|(?P<mark>=>|//|[=/:()\[\]{}])""",
    re.X,
)
PRELUDE = {"any", "uint", "nint", "int", "bstr", "tstr", "bool", "float", "null"}


class CddlError(ValueError):
    """The rules are not of the part of CDDL that is read here."""


@dataclass
class Type:
    """Alternatives of a type."""

    choices: list[Any]


@dataclass
class Item:
    """An entry of a group: how often, its key, its type; or a group in brackets."""

    least: int
    most: int | None
    key: Type | None
    what: Any


@dataclass
class Group:
    """Alternatives of a group, each a list of items."""

    choices: list[list[Item]]


@dataclass
class Node:
    """Any other type: its kind and what belongs to it."""

    kind: str
    value: Any = None
    controls: list[tuple[str, Any]] = field(default_factory=list)


class Parser:
    """A recursive-descent parser of rules."""

    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(text):
            match = TOKEN.match(text, at)
            if match is None:
                raise CddlError(f"cannot read {text[at : at + 30]!r}")
            at = match.end()
            if match.lastgroup != "skip":
                self.tokens.append((str(match.lastgroup), match.group()))
        self.at = 0

    def peek(self, ahead: int = 0) -> tuple[str, str]:
        """The next token, or one after it."""
        return self.tokens[self.at + ahead] if self.at + ahead < len(self.tokens) else ("end", "")

    def take(self, wanted: str | None = None) -> str:
        """Takes a token."""
        kind, text = self.peek()
        if kind == "end" or (wanted is not None and text != wanted):
            raise CddlError(f"{wanted!r} expected, not {text!r}")
        self.at += 1
        return text

    def accept(self, wanted: str) -> bool:
        """Takes a token if it is this one."""
        if self.peek()[1] != wanted:
            return False
        self.at += 1
        return True

    def rules(self) -> dict[str, Type]:
        """All rules."""
        found: dict[str, Type] = {}
        while self.peek()[0] != "end":
            name = self.take()
            self.take("=")
            if name in found or name in PRELUDE:
                raise CddlError(f"{name} is there twice")
            found[name] = self.type()
        return found

    def type(self) -> Type:
        """Alternatives."""
        choices = [self.controlled()]
        while self.accept("/"):
            choices.append(self.controlled())
        return Type(choices)

    def controlled(self) -> Node:
        """A type with its range or controls."""
        node = self.plain()
        if self.accept(".."):
            node = Node("range", (node.value, self.plain().value))
        while self.peek()[0] == "control":
            name = self.take()
            node = Node("control", node, [(name, self.plain())])
        return node

    def plain(self) -> Node:
        """A type by itself."""
        kind, text = self.peek()
        if kind in ("int", "text", "hex", "name", "tag"):
            self.take()
        if kind == "int":
            return Node("literal", int(text))
        if kind == "text":
            return Node("literal", text[1:-1])
        if kind == "hex":
            return Node("literal", bytes.fromhex(text[2:-1]))
        if kind == "name":
            return Node("name", text)
        if kind == "tag":
            self.take("(")
            inner = self.type()
            self.take(")")
            return Node("tag", (int(text[3:]), inner))
        for opening, closing, what in (("[", "]", "array"), ("{", "}", "map")):
            if self.accept(opening):
                return Node(what, self.group(closing))
        self.take("(")
        inner = self.type()
        self.take(")")
        return Node("type", inner)

    def group(self, closing: str) -> Group:
        """Everything up to the closing bracket."""
        choices: list[list[Item]] = [[]]
        while not self.accept(closing):
            if self.accept("//"):
                choices.append([])
            else:
                choices[-1].append(self.item())
        return Group(choices)

    def item(self) -> Item:
        """An entry."""
        least, most = self.occurrence()
        if self.peek() == ("mark", "(") and not self._is_key():
            self.take("(")
            return Item(least, most, None, self.group(")"))
        if self.peek()[0] in ("int", "text", "name") and self.peek(1)[1] == ":":
            kind, text = self.peek()
            self.at += 2
            # In an array, a name before a colon is for people; maps here have no such keys.
            key = None if kind == "name" else Type([Node("literal", int(text) if kind == "int" else text[1:-1])])
            return Item(least, most, key, self.type())
        what = self.type()
        if self.accept("=>"):
            return Item(least, most, what, self.type())
        return Item(least, most, None, what)

    def _is_key(self) -> bool:
        depth = 0
        for ahead in range(len(self.tokens) - self.at):
            text = self.peek(ahead)[1]
            depth += (text == "(") - (text == ")")
            if depth == 0:
                return self.peek(ahead + 1)[1] == "=>"
        return False

    def occurrence(self) -> tuple[int, int | None]:
        """How often an entry may occur."""
        if self.peek()[0] != "occur":
            return 1, 1
        text = self.take()
        if text in "?+":
            return (0, 1) if text == "?" else (1, None)
        least, _, most = text.partition("*")
        return int(least or 0), int(most) if most else None


class Rules:
    """Rules that CBOR can be held against."""

    def __init__(self, text: str) -> None:
        self.rules = Parser(text).rules()

    @classmethod
    def of_page(cls) -> Rules:
        """The rules of `docs/formats.md`."""
        return cls(page_text())

    def matches(self, rule: str, data: bytes) -> bool:
        """Whether the bytes are one CBOR item of this rule."""
        try:
            return self._type(self.rules[rule], cbor.decode(data))
        except CborError:
            return False

    def _type(self, what: Type, item: Any) -> bool:
        return any(self._node(node, item) for node in what.choices)

    def _node(self, node: Node, item: Any) -> bool:
        value = node.value
        if node.kind == "literal":
            return type(item) is type(value) and bool(item == value)
        if node.kind == "range":
            return is_int(item) and value[0] <= item <= value[1]
        if node.kind == "type":
            return self._type(value, item)
        if node.kind == "tag":
            return isinstance(item, Tag) and item.number == value[0] and self._type(value[1], item.value)
        if node.kind == "control":
            return self._node(value, item) and all(self._control(*control, item) for control in node.controls)
        if node.kind == "array":
            return isinstance(item, list) and any(not rest for rest in self._array(value, item))
        if node.kind == "map":
            return isinstance(item, Map) and any(not rest for rest in self._map(value, item.entries))
        return self._named(value, item)

    def _named(self, name: str, item: Any) -> bool:
        if name in self.rules:
            return self._type(self.rules[name], item)
        kinds = {"bstr": bytes, "tstr": str, "bool": bool, "float": float}
        if name in kinds:
            return isinstance(item, kinds[name])
        if name in ("int", "uint", "nint"):
            return is_int(item) and (name == "int" or (item >= 0) == (name == "uint"))
        if name == "null":
            return item is None
        if name == "any":
            return True
        raise CddlError(f"no rule {name}")

    def _control(self, name: str, argument: Node, item: Any) -> bool:
        if name == ".cbor":
            try:
                return self._node(argument, cbor.decode(item))
            except CborError:
                return False
        if name == ".size":
            return self._node(argument, len(item))
        if name == ".regexp":
            return re.fullmatch(argument.value, item) is not None
        if name == ".ge":
            return bool(item >= argument.value)
        raise CddlError(f"no control {name}")

    def _array(self, group: Group, items: list[Any]) -> Iterator[list[Any]]:
        """What is left of an array after each way to match a group at its begin."""
        for choice in group.choices:
            yield from self._sequence(choice, items)

    def _sequence(self, wanted: list[Item], items: list[Any]) -> Iterator[list[Any]]:
        if not wanted:
            yield items
            return
        first, count = wanted[0], 0
        if isinstance(first.what, Group):
            raise CddlError("a group in brackets in an array")
        while count < len(items) and (first.most is None or count < first.most):
            if not self._type(first.what, items[count]):
                break
            count += 1
        for taken in range(count, first.least - 1, -1):
            yield from self._sequence(wanted[1:], items[taken:])

    def _map(self, group: Group, entries: list[tuple[Any, Any]]) -> Iterator[list[tuple[Any, Any]]]:
        """What is left of a map after each way to match a group with it."""
        for choice in group.choices:
            yield from self._entries(choice, entries)

    def _entries(self, wanted: list[Item], entries: list[tuple[Any, Any]]) -> Iterator[list[tuple[Any, Any]]]:
        if not wanted:
            yield entries
            return
        first = wanted[0]
        if isinstance(first.what, Group):
            for rest in self._map(first.what, entries):
                yield from self._entries(wanted[1:], rest)
            if first.least == 0:
                yield from self._entries(wanted[1:], entries)
            return
        if first.key is None:
            raise CddlError("an entry of a map without a key")
        key = first.key
        fitting = [pair for pair in entries if self._type(key, pair[0]) and self._type(first.what, pair[1])]
        fitting = fitting[: first.most]
        if len(fitting) >= first.least:
            yield from self._entries(wanted[1:], [pair for pair in entries if pair not in fitting])


def page_text() -> str:
    """The rules of `docs/formats.md`, one after another."""
    return "\n".join(re.findall(r"```cddl\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S))
