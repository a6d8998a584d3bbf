"""Merge patches (RFC 7386) between two JSON objects: the least that makes one the other.

In:  two trees of dicts, lists and scalars. Out: a patch, None when they are equal.
A removed key becomes null; lists are replaced whole, which is why holders are a map (contracts.md).
"""

from collections.abc import Mapping
from typing import Any


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any] | None:
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if key in old and before == value and type(before) is type(value):
            continue
        if isinstance(before, dict) and isinstance(value, dict):
            inner = merge_patch(before, value)
            if inner is not None:
                patch[key] = inner
        else:
            patch[key] = value
    return patch or None
