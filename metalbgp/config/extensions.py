"""What metallb.io has no fields for: annotations metalbgp.io/… on advertisements and BGPPeers.

In:  an object's annotations, Findings to note mistakes in. Out: their values; they count only if nothing was
     noted. Other software ignores them, so the YAML stays MetalLB's own (docs/bgp.md, docs/layer2.md).
Elsewhere: what they do to a route or a duty is select/, to a session speaker/neighbors.py, to an order plan/.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeVar

from msgspec import Struct

from metalbgp.config import durations, selectors
from metalbgp.config.mistakes import Findings, Mistake, near, number, yes
from metalbgp.config.objects import LabelRequirement, LabelSelector
from metalbgp.model import extended
from metalbgp.model.configuration import CORDON, SHUTDOWN, TAINTS, Leaving
from metalbgp.model.selectors import Selector

PREFIX: Final = "metalbgp.io/"
OF_ADVERTISEMENTS: Final = (
    *("announce-delay", "backup-nodes", "drain", "drain-delay", "drain-tolerates"),
    *("extended-communities", "link-bandwidth"),
    *("med", "prepend", "service-may"),
)
MAY: Final = ("blackhole", "communities", "local-preference")  # words of service-may
OF_LAYER2: Final = ("drain", "drain-tolerates", "fencing", "revertive", "spread")
OF_PEERS: Final = ("listen-port", "max-routes", "ttl-security", "withdraw-limit")
MOST_ROUTES: Final = 1_000_000
LONGEST_WINDOW: Final = 24 * 3600  # seconds
SIGNS: Final = (CORDON, SHUTDOWN, TAINTS)  # words of drain
TAINT: Final = re.compile(r"[\w./-]+(=[\w.-]*)?(:(NoSchedule|NoExecute|PreferNoSchedule))?", re.ASCII)
MOST_PREPENDED: Final = 16  # of our own number; longer paths are cut or refused by many routers
LONGEST_DELAY: Final = 300  # seconds; a data path that needs longer is broken
FASTEST: Final = 10_000_000  # Mbit/s: ten terabits
T = TypeVar("T")


class RouteExtensions(Struct, frozen=True):
    """Of a BGPAdvertisement."""

    med: int | None = None
    prepend: int = 0
    extended_communities: tuple[int, ...] = ()
    link_bandwidth: int = 0  # Mbit/s for each serving endpoint of the node; 0: not said
    backup_nodes: tuple[Selector, ...] = ()
    announce_delay: int = 0  # milliseconds
    leaving: Leaving = Leaving()
    service_may: tuple[str, ...] = ()  # which wishes of Services count: words of MAY


def of_advertisement(notes: Mapping[str, str] | None, findings: Findings) -> RouteExtensions:
    if not notes:
        return RouteExtensions()

    def read(name: str, how: Callable[[str], T]) -> T | None:
        text = notes.get(PREFIX + name) if notes else None
        return None if text is None else findings.read(_field(name), how, text)

    wanted = read("backup-nodes", _labels)
    backups = () if wanted is None else (selectors.read(findings, _field("backup-nodes"), wanted),)
    return RouteExtensions(
        med=read("med", lambda text: number(text, 0, 2**32 - 1)),
        prepend=read("prepend", lambda text: number(text, 0, MOST_PREPENDED)) or 0,
        extended_communities=read("extended-communities", _extended) or (),
        link_bandwidth=read("link-bandwidth", lambda text: number(text, 1, FASTEST)) or 0,
        backup_nodes=backups,
        announce_delay=read("announce-delay", _delay) or 0,
        service_may=read("service-may", _may) or (),
        leaving=_leaving(notes, findings),
    )


class Layer2Extensions(Struct, frozen=True):
    """Of an L2Advertisement."""

    revertive: bool = True
    fenced: bool = False
    even: bool = False
    leaving: Leaving = Leaving()


def of_layer2(notes: Mapping[str, str] | None, findings: Findings) -> Layer2Extensions:
    def read(name: str, how: Callable[[str], bool], otherwise: bool) -> bool:
        text = (notes or {}).get(PREFIX + name)
        found = None if text is None else findings.read(_field(name), how, text)
        return otherwise if found is None else found

    return Layer2Extensions(
        revertive=read("revertive", yes, True),
        fenced=read("fencing", lambda text: _only("lease", text), False),
        even=read("spread", lambda text: _only("even", text), False),
        leaving=_leaving(notes, findings),
    )


def ttl_security(notes: Mapping[str, str] | None, findings: Findings) -> bool:
    """GTSM (RFC 5082), of a BGPPeer."""
    text = (notes or {}).get(f"{PREFIX}ttl-security")
    return text is not None and bool(findings.read(_field("ttl-security"), yes, text))


def listen_port(notes: Mapping[str, str] | None, findings: Findings) -> int:
    """Where a node also waits for this router, of a BGPPeer; 0: it only dials."""
    text = (notes or {}).get(f"{PREFIX}listen-port")
    return (
        0 if text is None else findings.read(_field("listen-port"), lambda t: number(t, 1, 65535), text) or 0
    )


def max_routes(notes: Mapping[str, str] | None, findings: Findings) -> int:
    """How many routes a node announces to this BGPPeer at most; 0: as many as there are."""
    text = (notes or {}).get(f"{PREFIX}max-routes")
    if text is None:
        return 0
    return findings.read(_field("max-routes"), lambda t: number(t, 1, MOST_ROUTES), text) or 0


def withdraw_limit(notes: Mapping[str, str] | None, findings: Findings) -> tuple[int, int]:
    """How many withdrawals, and within how many seconds; (0, 0): no limit."""
    text = (notes or {}).get(f"{PREFIX}withdraw-limit")
    if text is None:
        return 0, 0
    return findings.read(_field("withdraw-limit"), _rate, text) or (0, 0)


def unknown(notes: Mapping[str, str] | None, known: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """(field, why) for annotations of our prefix that nothing reads here."""
    for name in sorted(notes or ()):
        if name.startswith(PREFIX) and name.removeprefix(PREFIX) not in known:
            word = name.removeprefix(PREFIX)
            yield _field(word), f"there is no such annotation{near(word, known)}"


def ours(notes: Mapping[str, str] | None) -> dict[str, str]:
    """Those that say something to us."""
    return {name: text for name, text in (notes or {}).items() if name.startswith(PREFIX)}


def _field(name: str) -> str:
    return f"metadata.annotations.{PREFIX}{name}"


def _only(word: str, text: str) -> bool:
    """A word that is the only one so far, so that a later one changes the meaning of none."""
    if text != word:
        raise Mistake(f'"{text}" is not "{word}", the only value there is', f"write {word}, or take it out")
    return True


def _may(text: str) -> tuple[str, ...]:
    words = set(text.replace(",", " ").split())
    for word in sorted(words - {*MAY}):
        raise Mistake(f'"{word}" is not one of {", ".join(MAY)}{near(word, MAY)}')
    return tuple(sorted(words))


def _leaving(notes: Mapping[str, str] | None, findings: Findings) -> Leaving:
    """drain, drain-delay and drain-tolerates; the two of them alone do nothing until somebody drains."""

    def read(name: str, how: Callable[[str], T], otherwise: T) -> T:
        text = (notes or {}).get(PREFIX + name)
        found = None if text is None else findings.read(_field(name), how, text)
        return otherwise if found is None else found

    usual = Leaving()
    return Leaving(
        when=read("drain", _when, usual.when),
        delay=read("drain-delay", _delay, usual.delay),
        tolerates=read("drain-tolerates", _taints, usual.tolerates),
    )


def _when(text: str) -> tuple[str, ...]:
    words = set(text.replace(",", " ").split())
    for word in sorted(words - {*SIGNS}):
        raise Mistake(f'"{word}" is not one of {", ".join(SIGNS)}{near(word, SIGNS)}')
    return tuple(sorted(words))


def _taints(text: str) -> tuple[str, ...]:
    """As `kubectl taint` writes them, with or without value and effect."""
    words = set(text.replace(",", " ").split())
    for word in sorted(words):
        if not TAINT.fullmatch(word):
            fix = "write key, key=value, key:NoSchedule or key=value:NoExecute"
            raise Mistake(f'"{word}" is not a taint', fix)
    return tuple(sorted(words))


def _delay(text: str) -> int:
    """Milliseconds, rounded up, so that a wish is never rounded away."""
    nanos = durations.nanoseconds(text)
    if not 0 <= nanos <= LONGEST_DELAY * durations.SECOND:
        raise Mistake(f"{text} is not within 0s and {LONGEST_DELAY}s")
    return -(-nanos // 1_000_000)


def _rate(text: str) -> tuple[int, int]:
    most, slash, window = text.replace(" ", "").partition("/")
    if not slash:
        raise Mistake(f'"{text}" is not a number within a time', "write it as 100/60s")
    seconds = durations.nanoseconds(window) // durations.SECOND
    if not 1 <= seconds <= LONGEST_WINDOW:
        raise Mistake(f"{window} is not within 1s and 24h")
    return number(most, 1, MOST_ROUTES), seconds


def _extended(text: str) -> tuple[int, ...]:
    found: set[int] = set()
    for word in text.replace(",", " ").split():
        kind, _, rest = word.partition(":")
        if kind not in extended.SUBTYPES or rest.count(":") != 1:
            raise Mistake(f'"{word}" is not an extended community', "write target:64512:30 or origin:64512:1")
        try:
            found.add(extended.from_text(word))
        except ValueError as error:
            raise Mistake(str(error)) from error
    if not found:
        raise Mistake("is empty", "write target:64512:30, or take it out")
    return tuple(sorted(found))


def _labels(text: str) -> LabelSelector:
    """As kubectl's -l: `role=backup,!spare,rack`; all of them must hold."""
    labels: dict[str, str] = {}
    expressions: list[LabelRequirement] = []
    for part in (one.strip() for one in text.split(",")):
        key, equals, value = part.partition("=")
        if equals and not key.endswith("!"):
            labels[key.strip()] = value.removeprefix("=").strip()
        elif part.startswith("!") and not equals:
            expressions.append(LabelRequirement(key=part[1:].strip(), operator="DoesNotExist"))
        elif part and not equals:
            expressions.append(LabelRequirement(key=part, operator="Exists"))
        else:
            raise Mistake(f'"{text}" does not select nodes', "write it as for kubectl -l: role=backup,!spare")
    return LabelSelector(match_labels=labels or None, match_expressions=expressions or None)
