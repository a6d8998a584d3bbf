"""Texts mean what they mean to MetalLB, that is to Go's parsers: thousands of them, as Go itself read them.

In:  vectors/texts.json, made by vectors/generate.go.txt. Where we differ on purpose, DELIBERATE has the words
     of the refusal; what is refused that Go takes must carry one of them, with what to write instead.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from metalbgp.allocate.request import request_of
from metalbgp.config import communities, durations, ranges
from metalbgp.config.mistakes import Mistake
from metalbgp.model.addresses import AddressError, canonical
from metalbgp.model.reasons import BadRequest
from metalbgp.model.services import Service

VECTORS: Final[dict[str, dict[str, str | None]]] = json.loads(
    (Path(__file__).parent / "vectors" / "texts.json").read_text()
)
# Go takes these; we refuse them with a remedy, because whoever wrote them meant something else.
DELIBERATE: Final = {
    "addresses": ("IPv4 written as IPv6", "are of two families"),
    "address": ("IPv4 written as IPv6",),
    "loadBalancerIPs": ("IPv4 written as IPv6",),
    "communities": (),
    "durations": (),
}


def addresses(text: str) -> str:
    return str(ranges.read(text))


def community(text: str) -> str:
    numbers = communities.read(text)
    return ("large:" if len(numbers) == 3 else "") + ":".join(map(str, numbers))


def duration(text: str) -> str:
    return str(durations.nanoseconds(text))


def wanted(text: str, field: str = "requested_addresses") -> str:
    """Through the reading of a whole Service, of the families that the text asks for."""
    asked: Any = {field: text}
    families = [("10.96.0.1",), ("fd00::1",), ("10.96.0.1", "fd00::1")]
    answers = [
        request_of(
            Service(
                namespace="web",
                name="shop",
                uid="u",
                resource_version="1",
                created="",
                cluster_ips=cluster_ips,
                **asked,
            )
        )
        for cluster_ips in families
    ]
    for answer in answers:
        if answer.wrong is None:
            return ",".join(answer.addresses)
    wrong = next(answer.wrong for answer in answers if isinstance(answer.wrong, BadRequest))
    raise Mistake(wrong.explain(), wrong.remedy())


READERS: Final[dict[str, Callable[[str], str]]] = {
    "addresses": addresses,
    "address": canonical,
    "loadBalancerIPs": wanted,
    "communities": community,
    "durations": duration,
}


def test_the_old_field_for_one_address_takes_no_blanks_and_no_list() -> None:
    # spec.loadBalancerIP; empty, it asks for nothing.
    read = partial(wanted, field="load_balancer_ip")
    for text, theirs in VECTORS["address"].items():
        found, words = ours(read, text)
        deliberate = any(one in words for one in DELIBERATE["address"])
        assert found == (theirs if text else "") or deliberate, (text, found, theirs)


def ours(read: Callable[[str], str], text: str) -> tuple[str | None, str]:
    """What we read (None: refused), and the words of the refusal."""
    try:
        return read(text), ""
    except Mistake as mistake:
        return None, f"{mistake.why}. {mistake.fix}"
    except AddressError as error:
        return None, str(error)


def differs(kind: str, text: str, theirs: str | None) -> str:
    found, words = ours(READERS[kind], text)
    if found == theirs:
        return ""
    if found is None and any(one in words for one in DELIBERATE[kind]) and "write" in words:
        return ""
    return f"{text!r}: Go {theirs!r}, ours {found!r} {words}"


@pytest.mark.parametrize("kind", sorted(READERS))
def test_a_text_means_what_it_means_to_metallb(kind: str) -> None:
    found = filter(None, (differs(kind, text, theirs) for text, theirs in VECTORS[kind].items()))
    assert "\n".join(found) == ""


@pytest.mark.parametrize(
    ("kind", "words"), [(kind, words) for kind, all_words in DELIBERATE.items() for words in all_words]
)
def test_every_deliberate_difference_is_one(kind: str, words: str) -> None:
    taken = [text for text, theirs in VECTORS[kind].items() if theirs is not None]
    assert any(words in ours(READERS[kind], text)[1] for text in taken)


def test_the_vectors_hold_what_trips_parsers() -> None:
    assert set(VECTORS) == set(READERS)
    for kind, vectors in VECTORS.items():
        assert {theirs is None for theirs in vectors.values()} == {True, False}, kind
        for odd in ("\u00a0", "\t", "\u0661", "_", "+", "\x1c"):
            assert any(odd in text for text in vectors), (kind, odd)
