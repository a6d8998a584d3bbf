"""The lines between the reflex and those who use it: JSON, one object a line. Pure.

In:  a line from the agent:
       {"identity": {"node": NAME, "keys": [BASE64, …]}}    the first key signs
       {"add": [[address, [interface, …] or null, [candidate, …], {"revertive": …, "fenced": …,
         "declined": …}], …]}
       {"remove": [address, …]}, {"full": true}: what this connection did not name is gone
       {"probes": [[address, [interface, …] or null, token], …]}, {"fence": [[address, until], …]}
       {"exclude": [pattern, …]}, {"ask": "state"}
       from the parent: {"bfd": [session, …]}; sessions.py
Out: one of the values below; a Problem for a line that is none of them. What is wrong inside a list is left
     out and named, the rest counts: one bad address must not cost the others their answers.
"""

import base64
import binascii
import json
import re
import socket
import sys
from typing import Any, Final, Literal, NamedTuple

from metalbgp.l2.standing import Duty
from metalbgp.model.names import HEARTBEAT_KEY_SIZE
from metalbgp.reflex.sessions import Sessions, sessions

LONGEST: Final = 1 << 20  # bytes of a line

Filter = frozenset[str] | None


class Identity(NamedTuple):
    """Who this node is, and with which keys heartbeats are signed."""

    node: str
    keys: tuple[bytes, ...]
    refused: tuple[str, ...] = ()


class Change(NamedTuple):
    """Duties taken on or altered, and given up."""

    add: dict[bytes, Duty]
    remove: tuple[bytes, ...]
    refused: tuple[str, ...] = ()


class Full(NamedTuple):
    """All duties were named on this connection."""


class Fence(NamedTuple):
    """Fenced addresses, and until when they may be answered for: on CLOCK_BOOTTIME, which both ends share. A
    message that was delayed must not grant more than was granted."""

    until: dict[bytes, float]
    refused: tuple[str, ...] = ()


class Exclude(NamedTuple):
    """Names of interfaces that are none of ours."""

    patterns: tuple[str, ...]
    refused: tuple[str, ...] = ()


class Probes(NamedTuple):
    """The full set of addresses to ask the segment for, each with the token of the question."""

    probes: dict[bytes, tuple[Filter, str]]
    refused: tuple[str, ...] = ()


class Ask(NamedTuple):
    """Send the state."""


class Problem(NamedTuple):
    """A line that is no message."""

    text: str


Message = Identity | Change | Full | Fence | Exclude | Probes | Sessions | Ask | Problem


def decode(line: bytes) -> Message:
    """One line to what it asks for; never raises."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return Problem("not JSON")
    if not isinstance(message, dict):
        return Problem("not an object")
    if message.get("ask") == "state":
        return Ask()
    if message.get("full") is True:
        return Full()
    if isinstance(message.get("bfd"), list):
        return sessions(message["bfd"])
    refused: list[str] = []
    if isinstance(message.get("identity"), dict):
        return _identity(message["identity"], refused)
    if isinstance(message.get("probes"), list):
        return Probes(_probes(message["probes"], refused), tuple(refused))
    if isinstance(message.get("fence"), list):
        return Fence(_fences(message["fence"], refused), tuple(refused))
    if isinstance(message.get("exclude"), list):
        return Exclude(_patterns(message["exclude"], refused), tuple(refused))
    add, remove = message.get("add", []), message.get("remove", [])
    if not message.keys() & {"add", "remove"} or not isinstance(add, list) or not isinstance(remove, list):
        return Problem("none of identity, add, remove, full, probes, fence, exclude, bfd, ask")
    duties = _duties(add, refused)
    gone = tuple(address for each in remove if (address := _address(each, refused)) is not None)
    return Change(duties, gone, tuple(refused))


def encode(message: dict[str, Any]) -> bytes:
    """A message as its line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def _identity(said: dict[Any, Any], refused: list[str]) -> Identity | Problem:
    node, written = said.get("node"), said.get("keys")
    if not isinstance(node, str) or not node or not isinstance(written, list):
        return Problem("an identity has a node and keys")
    keys: list[bytes] = []
    for each in written:
        try:
            key = base64.b64decode(each, validate=True)
        except (binascii.Error, TypeError, ValueError):
            key = b""
        if len(key) == HEARTBEAT_KEY_SIZE:
            keys.append(key)
        else:
            refused.append(f"a key is not {HEARTBEAT_KEY_SIZE} bytes in base64")  # and is not shown
    return Identity(node, tuple(keys), tuple(refused))


def _duties(entries: list[Any], refused: list[str]) -> dict[bytes, Duty]:
    found: dict[bytes, Duty] = {}
    shared: dict[Duty, Duty] = {}  # thousands of addresses have the same candidates
    for entry in entries:
        if not isinstance(entry, list) or not 3 <= len(entry) <= 4:
            refused.append(f"not a duty: {entry!r:.80}")
            continue
        allowed = _allowed(entry, refused)
        candidates = _texts(entry[2])
        said = entry[3] if len(entry) == 4 else {}
        if candidates is None or not isinstance(said, dict):
            refused.append(f"not a duty: {entry!r:.80}")
        if allowed is False or candidates is None or not isinstance(said, dict):
            continue
        address = _address(entry[0], refused)
        if address is not None:
            revertive = said.get("revertive", True) is not False
            fenced, declined = said.get("fenced") is True, said.get("declined") is True
            duty = Duty(allowed, candidates, revertive, fenced, declined)
            found[address] = shared.setdefault(duty, duty)
    return found


def _allowed(entry: list[Any], refused: list[str]) -> frozenset[str] | Literal[False] | None:
    """Interfaces; None: every fit one; False: neither, which is noted."""
    if entry[1] is None:
        return None
    names = _texts(entry[1])
    if names is None:
        refused.append(f"not interfaces: {entry!r:.80}")
        return False
    return frozenset(names)


def _texts(said: object) -> tuple[str, ...] | None:
    """Words, each once in memory."""
    if not isinstance(said, list) or not all(isinstance(one, str) for one in said):
        return None
    return tuple(sys.intern(one) for one in said)


def _fences(entries: list[Any], refused: list[str]) -> dict[bytes, float]:
    found: dict[bytes, float] = {}
    for entry in entries:
        if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[1], (int, float)):
            refused.append(f"not a fence: {entry!r:.80}")
            continue
        address = _address(entry[0], refused)
        if address is not None:
            found[address] = float(entry[1])
    return found


def _patterns(entries: list[Any], refused: list[str]) -> tuple[str, ...]:
    found: list[str] = []
    for entry in entries:
        try:
            re.compile(entry)
        except (re.error, TypeError) as problem:
            refused.append(f"not a pattern of interface names: {entry!r:.80}: {problem}")
        else:
            found.append(entry)
    return tuple(found)


def _probes(entries: list[Any], refused: list[str]) -> dict[bytes, tuple[Filter, str]]:
    found: dict[bytes, tuple[Filter, str]] = {}
    for entry in entries:
        if not isinstance(entry, list) or len(entry) != 3 or not isinstance(entry[2], str):
            refused.append(f"not a probe: {entry!r:.80}")
            continue
        allowed = _allowed(entry, refused)
        address = None if allowed is False else _address(entry[0], refused)
        if allowed is not False and address is not None:
            found[address] = allowed, entry[2]
    return found


def _address(written: object, refused: list[str]) -> bytes | None:
    """A unicast address. Nothing else may ever be answered for, whoever asks for it."""
    if isinstance(written, str):
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                address = socket.inet_pton(family, written)
            except (OSError, ValueError):  # ValueError: a NUL or what UTF-8 cannot say
                continue
            if _is_unicast(address):
                return address
    refused.append(f"not a unicast address: {written!r:.80}")
    return None


def _is_unicast(address: bytes) -> bool:
    if len(address) == 4:
        return 0 < address[0] < 224 and address[0] != 127
    return address[0] != 0xFF and address[:15] != bytes(15) and address[:12] != bytes(10) + b"\xff\xff"
