"""An object against the schema of its CRD, as the API server's strict validation does it. Pure.

    faults(body, schema) -> Iterator[Fault]      # schema: openAPIV3Schema of one version

In:  plain values as documents.py reads them; the keywords that k8s/crds.yaml uses, and no others.
Out: what the API server would refuse: an unknown field (with the near miss), a missing one, a wrong type, a
     value outside of its range. `hard` ones leave nothing for compile.py to judge in that field.
Elsewhere: CEL rules, and all that schemas have no words for, are said again in better words by compile.py.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

from msgspec import Struct

from metalbgp.config.mistakes import near

Schema = Mapping[str, Any]
NAMES: Final = {"object": "an object", "array": "a list", "string": "a text", "boolean": "true or false"}
BITS: Final = {"int32": 31, "int64": 63}
ROOT: Final = frozenset(("apiVersion", "kind", "metadata"))
METADATA: Final = frozenset(
    (
        *("name", "generateName", "namespace", "labels", "annotations", "finalizers", "ownerReferences"),
        *("uid", "generation", "resourceVersion", "creationTimestamp", "deletionTimestamp"),
        *("deletionGracePeriodSeconds", "managedFields", "selfLink"),
    )
)
OBJECT_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LONGEST_NAME: Final = 253


class Fault(Struct, frozen=True):
    field: str
    why: str
    fix: str = ""
    hard: bool = False
    meant: str = ""  # of an unknown field: the one that it surely was to be


def faults(body: Mapping[str, Any], schema: Schema) -> Iterator[Fault]:
    """Everything that is wrong with the shape of one object."""
    yield from _metadata(body.get("metadata"))
    known = schema.get("properties", {})
    yield from _unknown(body, frozenset(known) | ROOT, "")
    yield from _missing(body, schema, "")
    for name, value in body.items():
        # A status in a file (`kubectl get -o yaml` writes one) is dropped before anybody judges it.
        if name in known and name not in ROOT and name != "status" and value is not None:
            yield from _value(value, known[name], name)


def _metadata(found: Any) -> Iterator[Fault]:
    if not isinstance(found, Mapping):
        yield Fault("metadata", "is missing", "write metadata: {name: …}", hard=True)
        return
    yield from _unknown(found, METADATA, "metadata")
    name = found.get("name")
    if not isinstance(name, str) or not name:
        if not found.get("generateName"):
            yield Fault("metadata.name", "is missing", hard=True)
    elif len(name) > LONGEST_NAME or not OBJECT_NAME.fullmatch(name):
        fix = "write lower-case letters, digits, dashes and dots"
        yield Fault("metadata.name", f'nothing can be called "{name}" in Kubernetes', fix, hard=True)
    for field in ("labels", "annotations"):
        for key, value in _items(found.get(field)):
            if not isinstance(value, str):
                fix = f'write it in quotes: "{_json(value)}"'
                yield Fault(f"metadata.{field}.{key}", f"{_json(value)} is not a text", fix, hard=True)


def _items(found: Any) -> Sequence[tuple[str, Any]]:
    return [*found.items()] if isinstance(found, Mapping) else []


def _unknown(value: Mapping[str, Any], known: frozenset[str], where: str) -> Iterator[Fault]:
    for name in value:
        if name in known:
            continue
        folded = {one.lower(): one for one in sorted(known)}
        meant = folded.get(name.lower()) or next(iter(get_close_matches(name, sorted(known), n=1)), "")
        hint = f' (did you mean "{meant}"?)' if meant else ""
        fix = "" if meant else f"there are: {', '.join(sorted(known))}"
        yield Fault(
            field=_path(where, name),
            why=f"there is no such field{hint}",
            fix=fix,
            hard=True,
            meant=_path(where, meant) if meant else "",
        )


def _missing(value: Mapping[str, Any], schema: Schema, where: str) -> Iterator[Fault]:
    strangers = set(value) - set(schema.get("properties", {}))
    for name in schema.get("required", ()):
        if near(name, strangers):
            continue  # it is there, misspelt
        if value.get(name) is None and "default" not in schema["properties"].get(name, {}):
            yield Fault(_path(where, name), "is missing", hard=True)


def _path(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _value(value: Any, schema: Schema, where: str) -> Iterator[Fault]:
    kind = schema.get("type", "")
    if not _is(value, kind):
        secret = where.endswith("password")
        why = f"{'what stands there' if secret else _json(value)} is not {NAMES.get(kind, 'a whole number')}"
        yield Fault(where, why, "write it in quotes" if secret else _quote(value, kind), hard=True)
        return
    match value:
        case Mapping():
            yield from _object(value, schema, where)
        case list():
            if len(value) < schema.get("minItems", 0):
                yield Fault(where, f"has fewer than {schema['minItems']} entries")
            for at, inner in enumerate(value):
                if inner is not None:
                    yield from _value(inner, schema.get("items", {}), f"{where}[{at}]")
                else:
                    yield Fault(
                        f"{where}[{at}]", "is empty", "write a value, or take the dash out", hard=True
                    )
        case str():
            yield from _text(value, schema, where)
        case int() | float() if not isinstance(value, bool):
            yield from _number(value, schema, where)


def _object(value: Mapping[str, Any], schema: Schema, where: str) -> Iterator[Fault]:
    known, more = schema.get("properties", {}), schema.get("additionalProperties")
    if known:
        yield from _unknown(value, frozenset(known), where)
    yield from _missing(value, schema, where)
    for name, inner in value.items():
        one = known.get(name) or (more if isinstance(more, Mapping) else None)
        if one is not None and inner is not None:
            yield from _value(inner, one, _path(where, name))


def _text(value: str, schema: Schema, where: str) -> Iterator[Fault]:
    words = schema.get("enum")
    if words and value not in words:
        yield Fault(where, f'"{value}" is not one of {", ".join(words)}{near(value, words)}')
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        yield Fault(where, f"has {len(value)} characters, which are too {'many' if value else 'few'}")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield Fault(where, f'"{value}" does not look like {schema["pattern"]}')


def _number(value: float, schema: Schema, where: str) -> Iterator[Fault]:
    low, high = schema.get("minimum"), schema.get("maximum")
    bits = BITS.get(schema.get("format", ""), 63)
    low = -(2**bits) if low is None else low
    high = 2**bits - 1 if high is None else high
    if not low <= value <= high:
        yield Fault(where, f"{_json(value)} is not from {low} to {high}")


def _is(value: Any, kind: str) -> bool:
    match kind:
        case "object":
            return isinstance(value, Mapping)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return not isinstance(value, bool) and (
                isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            )
    return True


def _quote(value: Any, kind: str) -> str:
    """What a scalar of the wrong type most often wants: quotes, or none."""
    match kind, value:
        case "string", bool() | int() | float():
            return f'write it in quotes: "{_json(value)}"'
        case "integer", str() if value.isdecimal():
            return f"write it without quotes: {value}"
        case "boolean", str() if value.lower() in ("true", "false"):
            return f"write it without quotes: {value.lower()}"
        case "array", str():
            return f"write it as a list: [{_json(value)}]"
    return ""


def _json(value: Any) -> str:
    """Short: what stands in the file, in one word."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return f'"{value}"'
        case Mapping():
            return "an object"
        case list():
            return "a list"
    return str(value)
