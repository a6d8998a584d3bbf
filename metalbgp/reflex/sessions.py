"""The parent's list of BFD sessions, decoded. Pure.

In:  entries of {"bfd": [{"key": …, "peer": …, "local": …, "interface": …, "multihop": …, "receive": ms,
     "transmit": ms, "multiplier": …, "passive": …, "minimum_ttl": …}, …]};
     only key and peer must be there.
Out: Sessions. An entry that cannot be read is refused by its key, and what runs under it goes on.
Elsewhere: the other lines are messages.py; what comes of them detecting.py.
"""

import socket
from typing import Any, Final, NamedTuple

from metalbgp.bfd.sockets import is_link_local, packed
from metalbgp.bfd.values import Wanted

MOST: Final = 512  # sessions of a node: each costs 0.3 % of a core at 100 ms
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


def sessions(entries: list[Any]) -> Sessions:
    wanted: dict[str, Wanted] = {}
    refused: dict[str, str] = {}
    problems: list[str] = []
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
        else:
            refused[key] = read
    return Sessions(tuple(wanted.values()), refused, tuple(problems))


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


def _text(address: bytes) -> str:
    if not address:
        return ""
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)
