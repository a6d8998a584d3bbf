"""Values of model/ as JSON trees: camelCase, defaults left out. One walk for all kinds.

In:  a Struct; SPECIAL fields that people write otherwise than a struct would. Out: dicts and lists, and back.
Elsewhere: which fields are special, compiled.py; JSON itself is msgspec's.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from msgspec import Struct
from msgspec.structs import fields

Special = Mapping[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]]  # field → (there, back)
NONE: Special = {}


@lru_cache
def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


@lru_cache
def snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda found: f"_{found[1].lower()}", name)


def written(value: Any, special: Special = NONE, *, whole: bool = False) -> Any:
    """`whole`: the outermost struct names every field, so that a merge patch leaves nothing old."""
    if isinstance(value, Struct):
        return {
            camel(field.name): (
                special[field.name][0](inner) if field.name in special else written(inner, special)
            )
            for field in fields(value)
            if (inner := getattr(value, field.name)) != field.default or (whole and inner is not None)
        }
    if isinstance(value, tuple):
        return [written(inner, special) for inner in value]
    return value


def values(value: Any, special: Special = NONE) -> Any:
    """Keys and texts back to the model's; msgspec.convert does the types."""
    if isinstance(value, dict):
        named = ((snake(key), inner) for key, inner in value.items())
        return {
            name: special[name][1](inner) if name in special else values(inner, special)
            for name, inner in named
        }
    if isinstance(value, list):
        return [values(inner, special) for inner in value]
    return value
