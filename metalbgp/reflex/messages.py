"""The lines between agent and reflex: JSON, one object a line. Pure.

In:  a line from the agent: {"duties": [[address, [interface, …] or null], …]},
     {"add": […], "remove": [address, …]}, {"probes": [[address, [interface, …] or null, token], …]},
     {"ask": "state"}.
Out: Duties, Change, Probes or Ask; a Problem for a line that is none of them. What is wrong inside a list is
     left out and named, the rest counts: one bad address must not cost the others their answers.
"""

import json
import socket
from typing import Any, Final, NamedTuple

LONGEST: Final = 1 << 20  # bytes of a line

Filter = frozenset[str] | None


class Duties(NamedTuple):
    """The full set."""

    duties: dict[bytes, Filter]
    refused: tuple[str, ...] = ()


class Change(NamedTuple):
    """A difference to it."""

    add: dict[bytes, Filter]
    remove: tuple[bytes, ...]
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


Message = Duties | Change | Probes | Ask | Problem


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
    refused: list[str] = []
    if isinstance(message.get("duties"), list):
        return Duties(_duties(message["duties"], refused), tuple(refused))
    if isinstance(message.get("probes"), list):
        return Probes(_probes(message["probes"], refused), tuple(refused))
    add, remove = message.get("add", []), message.get("remove", [])
    if not message.keys() & {"add", "remove"} or not isinstance(add, list) or not isinstance(remove, list):
        return Problem("neither duties nor a change nor a question")
    duties = _duties(add, refused)
    gone = tuple(address for each in remove if (address := _address(each, refused)) is not None)
    return Change(duties, gone, tuple(refused))


def encode(message: dict[str, Any]) -> bytes:
    """A message as its line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def _duties(entries: list[Any], refused: list[str]) -> dict[bytes, Filter]:
    found: dict[bytes, Filter] = {}
    for entry in entries:
        if not isinstance(entry, list) or len(entry) != 2:
            refused.append(f"not a duty: {entry!r:.80}")
            continue
        allowed = entry[1]
        if allowed is not None and not (
            isinstance(allowed, list) and all(isinstance(one, str) for one in allowed)
        ):
            refused.append(f"not interfaces: {entry!r:.80}")
            continue
        address = _address(entry[0], refused)
        if address is not None:
            found[address] = None if allowed is None else frozenset(allowed)
    return found


def _probes(entries: list[Any], refused: list[str]) -> dict[bytes, tuple[Filter, str]]:
    found: dict[bytes, tuple[Filter, str]] = {}
    for entry in entries:
        if not isinstance(entry, list) or len(entry) != 3 or not isinstance(entry[2], str):
            refused.append(f"not a probe: {entry!r:.80}")
            continue
        for address, allowed in _duties([entry[:2]], refused).items():
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
