"""Fields that no kind has: an API server that is not asked to be strict drops a misspelt one in silence.

In:  a kind of objects.py and a body. Out: (path, why) for each unknown field, with the near miss.
Elsewhere: wrong types are found while decoding (objects.py), wrong values by each kind's own file.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import inspect

from metalbgp.config.mistakes import near
from metalbgp.config.objects import AnyObject

IN_METADATA = frozenset(
    {
        "name",
        "namespace",
        "labels",
        "annotations",
        "uid",
        "generation",
        "creationTimestamp",
        "resourceVersion",
        "finalizers",
        "ownerReferences",
        "managedFields",
        "generateName",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    }
)


def unknown(kind: type[AnyObject], body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in sorted(set(body) - {"apiVersion", "kind", "metadata", "spec", "status"}):
        yield name, f'there is no field "{name}"{near(name, ("spec", "metadata"))}'
    metadata = body.get("metadata")
    if isinstance(metadata, Mapping):
        for name in sorted(set(metadata) - IN_METADATA):
            yield f"metadata.{name}", f'there is no field "{name}"{near(name, IN_METADATA)}'
    spec = next(field for field in msgspec.structs.fields(kind) if field.name == "spec")
    yield from _below(inspect.type_info(spec.type), body.get("spec"), "spec")


def _below(info: inspect.Type, value: Any, path: str) -> Iterator[tuple[str, str]]:
    match info:
        case inspect.UnionType(types=types):
            for one in types:
                yield from _below(one, value, path)
        case inspect.ListType(item_type=item) if isinstance(value, list):
            for at, inner in enumerate(value):
                yield from _below(item, inner, f"{path}[{at}]")
        case inspect.StructType(fields=fields) if isinstance(value, Mapping):
            known = {field.encode_name: field.type for field in fields}
            for name, inner in value.items():
                if name in known:
                    yield from _below(known[name], inner, f"{path}.{name}")
                else:
                    yield f"{path}.{name}", f'there is no field "{name}"{near(name, known)}'
        case _:
            return
