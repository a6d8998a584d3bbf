"""YAML or JSON as kubectl reads it → documents that know the line of each field. Pure.

    documents(text, file="") -> tuple[Document, ...]      # NotYaml with the line where it ends

In:  text of one file, many documents, Lists.
Out: plain values, and line(path) for paths like spec.addresses[1].
Elsewhere: what the values mean is objects.py; who reads files is cli/validate.py.

PyYAML's own rules are YAML 1.1's: there 64512:30 is a number to base 60, 2026-01-01 a date, and of a key that
stands twice the last wins. kubectl reads with sigs.k8s.io/yaml; its rules are these (see the vectors of the
tests).
"""

import base64
import binascii
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

import yaml
from msgspec import Struct
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

NULL: Final = frozenset(("", "~", "null", "Null", "NULL"))
TRUE: Final = frozenset(["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"])
FALSE: Final = frozenset(["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"])
ENDLESS: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
WHOLE: Final = re.compile(r"([-+]?)(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
FRACTION: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
EXACT: Final = 1e21  # from here on JSON writes an exponent
DEEPEST: Final = 100  # levels; nothing of Kubernetes is deeper, and an alias may contain itself
LARGEST: Final = 100_000  # values of one document with all its aliases written out
TAG: Final = "tag:yaml.org,2002:"
PLAIN: Final = "plain"  # no tag and no quotes: the text itself says what it is
LONGEST: Final = 400  # digits; more fit into no number of JSON's readers


class NotYaml(ValueError):
    """The text cannot be read: why, and where."""

    def __init__(self, why: str, line: int) -> None:
        super().__init__(why)
        self.why, self.line = why, line


class Document(Struct, frozen=True):
    """One object of a file."""

    body: Mapping[str, Any]
    lines: Mapping[str, int]  # field path → line, from 1
    first: int = 1  # line that it begins on
    file: str = ""

    @property
    def kind(self) -> str:
        return _text(self.body.get("kind"))

    @property
    def group(self) -> str:
        return _text(self.body.get("apiVersion")).rpartition("/")[0]

    @property
    def version(self) -> str:
        return _text(self.body.get("apiVersion")).rpartition("/")[2]

    @property
    def name(self) -> str:
        return _text(self._metadata.get("name"))

    @property
    def namespace(self) -> str:
        return _text(self._metadata.get("namespace"))

    @property
    def _metadata(self) -> Mapping[str, Any]:
        found = self.body.get("metadata")
        return found if isinstance(found, Mapping) else {}

    def line(self, path: str) -> int:
        """Of the field, or of the nearest that is there and holds it."""
        while path and path not in self.lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.lines.get(path, self.first)


def documents(text: str, file: str = "") -> tuple[Document, ...]:
    """Every object of the text; empty documents are left out, Lists are taken apart."""
    found: list[Document] = []
    at = _Lines(text)
    try:
        for node in yaml.compose_all(text, Loader=_Nodes):
            if node is None:
                continue
            walk = _Walk(at)
            body = walk.value(node, "", 0)
            if body is None:
                continue
            first = at(node.start_mark)
            if not isinstance(body, dict):
                raise NotYaml("a document is an object with apiVersion and kind", first)
            found += _parts(Document(body=body, lines=walk.lines, first=first, file=file))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        why = " ".join(str(part) for part in (error.context, error.problem) if part)
        raise NotYaml(why, at(mark) if mark else 1) from error
    except yaml.reader.ReaderError as error:
        before = text[: error.position] if isinstance(error.position, int) else ""
        raise NotYaml(f"{error.reason} (character {error.character!r})", before.count("\n") + 1) from error
    except NotYaml:
        raise
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        # ValueError: PyYAML passes on what chr() and int() say of an escape or a directive
        raise NotYaml(str(error) or type(error).__name__, 1) from error
    return tuple(found)


def _parts(document: Document) -> Iterator[Document]:
    items = document.body.get("items")
    if not document.kind.endswith("List") or not isinstance(items, list):
        yield document
        return
    for at, item in enumerate(items):
        head = f"items[{at}]"
        if not isinstance(item, dict):
            raise NotYaml("an item of a List is an object with apiVersion and kind", document.line(head))
        lines = {
            path.removeprefix(f"{head}."): line
            for path, line in document.lines.items()
            if path.startswith(f"{head}.")
        }
        yield Document(body=item, lines=lines, first=document.line(head), file=document.file)


class _Nodes(yaml.SafeLoader):
    """PyYAML's parser without its idea of what a plain text is."""

    def resolve(self, kind: type[Node], value: Any, implicit: Any) -> str:
        if kind is ScalarNode:
            return PLAIN if implicit[0] else f"{TAG}str"
        return f"{TAG}map" if kind is MappingNode else f"{TAG}seq"


class _Lines:
    """Lines as editors count them: YAML's also end at U+2028 and the like."""

    def __init__(self, text: str) -> None:
        self._ends = [at for at, letter in enumerate(text) if letter == "\n"]

    def __call__(self, mark: yaml.Mark) -> int:
        return min(bisect_left(self._ends, mark.index), len(self._ends)) + 1


class _Walk:
    """Nodes → values, and the line of each."""

    def __init__(self, line: _Lines) -> None:
        self.lines: dict[str, int] = {}
        self._line = line
        self._count = 0

    def value(self, node: Node, path: str, depth: int) -> Any:
        self._count += 1
        if depth > DEEPEST or self._count > LARGEST:
            raise NotYaml("too deep or too large: an alias contains itself?", self._line(node.start_mark))
        line = self._line(node.start_mark)
        self.lines.setdefault(path, line)
        match node:
            case ScalarNode():
                return scalar(node, line)
            case SequenceNode():
                return [self.value(inner, f"{path}[{at}]", depth + 1) for at, inner in enumerate(node.value)]
            case MappingNode():
                return self._mapping(node, path, depth)
            case _:
                raise NotYaml("what is this?", line)

    def _mapping(self, node: MappingNode, path: str, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, inner in node.value:
            line = self._line(key_node.start_mark)
            if _is_merge(key_node):
                merged |= self._merged(inner, path, depth)
                continue
            name = _key(key_node, line)
            if name in found:
                raise NotYaml(f'the key "{name}" stands there twice', line)
            where = f"{path}.{name}" if path else name
            self.lines[where] = line
            found[name] = self.value(inner, where, depth + 1)
        for name in sorted(found.keys() & merged.keys()):
            raise NotYaml(f'the key "{name}" stands there twice', self._line(node.start_mark))
        return merged | found

    def _merged(self, node: Node, path: str, depth: int) -> dict[str, Any]:
        parts = node.value if isinstance(node, SequenceNode) else [node]
        found: dict[str, Any] = {}
        for part in parts:
            if not isinstance(part, MappingNode):
                raise NotYaml("what << merges is an object", self._line(node.start_mark))
            found = self._mapping(part, path, depth + 1) | found
        return found


def _is_merge(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.value == "<<" and node.style is None


def _key(node: Node, line: int) -> str:
    if not isinstance(node, ScalarNode):
        raise NotYaml("a key is a text", line)
    match scalar(node, line):
        case None:
            raise NotYaml("a key cannot be null", line)
        case bool() as found:
            return "true" if found else "false"
        case found:
            return str(found)


def scalar(node: ScalarNode, line: int) -> Any:
    """A value as it would be in JSON."""
    text, tag = node.value, node.tag
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise NotYaml("half a character, which JSON cannot hold", line)
    if tag == f"{TAG}binary":
        try:
            return base64.b64decode(text, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise NotYaml(f"!!binary: {error}", line) from error
    if tag == PLAIN or (tag.startswith(TAG) and tag != f"{TAG}str"):
        return _plain(text, line)
    return text  # quoted, or with a tag that says so (`!!str 1`, `!mine 1`)


def _plain(text: str, line: int) -> Any:
    if text in NULL:
        return None
    if text in TRUE or text in FALSE:
        return text in TRUE
    if ENDLESS.fullmatch(text):
        raise NotYaml(f"{text} is no number that JSON can hold", line)
    if text[0] not in "+-.0123456789" or len(text) > LONGEST:
        return text
    digits = text.replace("_", "")
    if (found := WHOLE.fullmatch(digits)) is not None:
        number = _whole(found[1], found[2])
        if -(2**63) <= number < 2**64:
            return number
    if FRACTION.fullmatch(digits) is None:
        return text
    fraction = float(digits)
    if fraction in (float("inf"), float("-inf")):
        return text
    # As Go writes it: the shortest digits that are this number, and no exponent below EXACT.
    return int(Decimal(repr(fraction))) if fraction.is_integer() and abs(fraction) < EXACT else fraction


def _whole(sign: str, digits: str) -> int:
    octal = len(digits) > 1 and digits[0] == "0" and digits[1].isdigit()
    number = int(digits, 8) if octal else int(digits, 0)
    return -number if sign == "-" else number


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
