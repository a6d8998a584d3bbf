"""The parent's list of BFD sessions, decoded. Pure.

In:  entries of {"bfd": [{"key": …, "peer": …, "local": …, "interface": …, "multihop": …, "receive": ms,
     "transmit": ms, "multiplier": …, "passive": …, "minimum_ttl": …, "resume": [[number, …], at]}, …]};
     only key and peer must be there. "resume": what its row said last of a session that was Up in a reflex
     before this one, and the CLOCK_BOOTTIME at which that one was last known to live.
     {"bfd_hand_over": seconds}: how long another reflex may take to go on with the sessions.
Out: Sessions, HandOver. An entry that cannot be read is refused by its key, and what runs under it goes on.
Elsewhere: the other lines are messages.py; what comes of them detecting.py.
"""

import socket
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from metalbgp.bfd.machine import Memory
from metalbgp.bfd.sockets import PORTS, is_link_local, packed
from metalbgp.bfd.values import Resume, Wanted

MOST: Final = 512  # sessions of a node: each costs 0.3 % of a core at 100 ms
LONGEST_WAIT: Final = 600  # seconds; a router that waits does not notice meanwhile that the node is dead
_BYTE: Final = 255
_AGES: Final = 1e12  # seconds
_NUMBERS: Final = {  # field: its range, as in BFDProfile (and a multiplier of 1, which RFC 5880 allows)
    "receive": (10, 60000),
    "transmit": (10, 60000),
    "multiplier": (1, 255),
    "minimum_ttl": (1, 255),
}
_TEXTS: Final = ("local", "interface")
_SWITCHES: Final = ("multihop", "passive")
_NAME_MOST: Final = 15  # characters of an interface's name in Linux


class Sessions(NamedTuple):
    """All sessions that shall be; `refused`: by key, what is wrong with those that cannot be read."""

    wanted: tuple[Wanted, ...]
    refused: dict[str, str]
    problems: tuple[str, ...] = ()  # of entries without so much as a key
    resume: Mapping[str, Resume] = MappingProxyType({})


class HandOver(NamedTuple):
    """Ask the routers to wait for another reflex."""

    seconds: float


def hand_over(said: object) -> HandOver | None:
    """None for what is no number of seconds from 1 to LONGEST_WAIT."""
    if isinstance(said, (int, float)) and 1 <= said <= LONGEST_WAIT:
        return HandOver(float(said))
    return None


def sessions(entries: list[Any]) -> Sessions:
    wanted: dict[str, Wanted] = {}
    refused: dict[str, str] = {}
    problems: list[str] = []
    resume: dict[str, Resume] = {}
    for entry in entries:
        key = entry.get("key") if isinstance(entry, dict) else None
        if not isinstance(key, str) or not key:
            problems.append(f"not a BFD session: {entry!r:.80}")
            continue
        read = _session(key, entry)
        if isinstance(read, Wanted) and len(wanted) >= MOST:
            read = f"{key}: more than {MOST} BFD sessions on a node"
        if isinstance(read, Wanted):
            read = _alone(read, wanted)
        if isinstance(read, Wanted):
            wanted[key] = read
            if (found := _resume(entry.get("resume"))) is not None:
                resume[key] = found
        else:
            refused[key] = read
    return Sessions(tuple(wanted.values()), refused, tuple(problems), resume)


def _alone(one: Wanted, others: dict[str, Wanted]) -> Wanted | str:
    """A second session at the same place would never hear anything."""
    for other in others.values():
        if other.key == one.key:
            return f"{one.key}: named twice"
        if other.place == one.place:
            return f"{one.key}: {other.key} already is the BFD session with {one.peer}"
    return one


def _session(key: str, entry: dict[Any, Any]) -> Wanted | str:
    said: dict[str, Any] = {"key": key, "peer": entry.get("peer")}
    for field, (least, most) in _NUMBERS.items():
        value = entry.get(field, Wanted._field_defaults[field])
        if type(value) is not int or not least <= value <= most:
            return f"{key}: {field} is {value!r:.40}, not a number from {least} to {most}"
        said[field] = value
    for field in _TEXTS:
        said[field] = entry.get(field) or ""
        if not isinstance(said[field], str):
            return f"{key}: {field} is {said[field]!r:.40}, not a text"
    for field in _SWITCHES:
        said[field] = entry.get(field, False)
        if not isinstance(said[field], bool):
            return f"{key}: {field} is {said[field]!r:.40}, not true or false"
    return _placed(Wanted(**said))


def _placed(one: Wanted) -> Wanted | str:
    """Addresses in one way of writing, so that equal ones are equal."""
    found: dict[str, bytes] = {}
    for field in ("peer", "local"):
        written = getattr(one, field)
        try:
            found[field] = packed(written)
        except (OSError, ValueError, TypeError):
            return f"{one.key}: {field} is {written!r:.60}, not an address"
    peer, local = found["peer"], found["local"]
    if not peer:
        return f"{one.key}: peer is empty"
    if local and len(local) != len(peer):
        return f"{one.key}: peer {one.peer} and local {one.local} are of different families"
    if is_link_local(peer) and (not one.interface or one.multihop):
        return f"{one.key}: {one.peer} is link-local: it needs an interface, and no multihop"
    if len(one.interface) > _NAME_MOST or "\0" in one.interface:
        return f"{one.key}: {one.interface!r:.40} is no name of an interface"
    return one._replace(peer=_text(peer), local=_text(local))


def _resume(said: object) -> Resume | None:
    """None for what is none: then the session begins anew, as it would without."""
    if not isinstance(said, list) or len(said) != 2:
        return None
    numbers, at = said
    if not isinstance(at, (int, float)) or not 0 <= at < _AGES:
        return None
    if not isinstance(numbers, list) or len(numbers) != len(Memory._fields) + 1:
        return None
    if not all(type(one) is int and 0 < one < 1 << 32 for one in numbers):
        return None
    *memory, port = numbers
    found = Memory(*memory)
    if found.multiplier > _BYTE or found.remote_multiplier > _BYTE or port not in PORTS:
        return None
    return Resume(found, port, float(at))


def _text(address: bytes) -> str:
    if not address:
        return ""
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)
