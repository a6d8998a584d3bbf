"""Configuration ↔ the SpeakerConfiguration object (metalbgp.io/v1alpha1, named after the installation).

    decode(bytes | Raw) -> Configuration
    decode_stored(bytes | Raw) -> Stored               # with uid and resourceVersion, for compare-and-swap
    encode(configuration, namespace) -> dict           # the body of a POST
    merge_patch(old, new) -> dict | None               # None: nothing to write

The object is the model written out: camelCase, defaults left out, ranges and communities as people write
them. One walk over the structs (written.py) does all kinds, so a new field of the model needs no code here,
only its line in k8s/crds.yaml (a test compares the two).
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from metalbgp.config import jsonpatch
from metalbgp.config.written import Special, values, written
from metalbgp.model import extended
from metalbgp.model.addresses import range_from_text
from metalbgp.model.configuration import Configuration
from metalbgp.model.names import INSTALLATION

API_VERSION: Final = "metalbgp.io/v1alpha1"
KIND: Final = "SpeakerConfiguration"


class Stored(Struct, frozen=True):
    """A Configuration as it stands in the cluster."""

    configuration: Configuration
    uid: str = ""
    resource_version: str = ""
    generation: int = 0


class _Meta(Struct, rename="camel"):
    name: str
    uid: str = ""
    resource_version: str = ""
    generation: int = 0


class _Object(Struct):
    metadata: _Meta
    spec: dict[str, Any] = {}


_decode = msgspec.json.Decoder(_Object).decode


def decode_stored(data: bytes | Raw) -> Stored:
    raw = _decode(data)
    meta = raw.metadata
    found = {**values(raw.spec, SPECIAL), "installation": meta.name}
    return Stored(
        configuration=msgspec.convert(found, Configuration),
        uid=meta.uid,
        resource_version=meta.resource_version,
        generation=meta.generation,
    )


def decode(data: bytes | Raw) -> Configuration:
    return decode_stored(data).configuration


def encode(configuration: Configuration, namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": configuration.installation,
            "namespace": namespace,
            "labels": {INSTALLATION: configuration.installation},
        },
        "spec": spec(configuration),
    }


def spec(configuration: Configuration) -> dict[str, Any]:
    """The spec alone. `sequence` always stands in it: 0 is a number, not an absence."""
    found: dict[str, Any] = written(configuration, SPECIAL)
    found.pop("installation", None)
    return {"sequence": configuration.sequence, **found}


def merge_patch(old: Configuration, new: Configuration) -> dict[str, Any] | None:
    patch = jsonpatch.merge_patch(spec(old), spec(new))
    return None if patch is None else {"spec": patch}


# ------------------------------------------------------------------ what people write otherwise

Text = tuple[Callable[[Any], Any], Callable[[Any], Any]]


def _colons(value: tuple[int, ...]) -> str:
    return ":".join(map(str, value))


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(":")]


def _each(there: Callable[[Any], Any], back: Callable[[Any], Any]) -> Text:
    return (lambda values: [there(one) for one in values]), (lambda texts: [back(one) for one in texts])


# Fields (by the model's name) that people write otherwise than a struct would.
SPECIAL: Final[Special] = {
    "ranges": _each(str, lambda text: msgspec.to_builtins(range_from_text(text))),
    "communities": _each(_colons, _numbers),
    "large_communities": _each(_colons, _numbers),
    "extended_communities": _each(extended.text, extended.from_text),
    "labels": (dict, lambda labels: sorted(labels.items())),
}
