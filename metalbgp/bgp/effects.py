"""What the machine asks its edge to do, in order."""

from typing import Literal

from msgspec import Struct

from metalbgp.bgp.journal import Key


class Write(Struct, frozen=True):
    """Command lines for ExaBGP, to be written together."""

    lines: tuple[str, ...]


class Install(Struct, frozen=True):
    """Write this file beside the present one, validate it, then put it in its place; answer installed()."""

    text: str
    generation: int


class Check(Struct, frozen=True):
    """Validate this file and leave the present one alone; answer checked()."""

    text: str


class RestartChild(Struct, frozen=True):
    """The child cannot be brought to the wanted state any other way."""

    reason: str


class AskAgain(Struct, frozen=True):
    """The AS number that was learned for this neighbour is not (any more) the router's."""

    peer: str


class SessionChanged(Struct, frozen=True):
    peer: str


class RoutesChanged(Struct, frozen=True):
    keys: tuple[Key, ...]


class Problem(Struct, frozen=True):
    """Something that a person should read. `kind` is stable, `text` has the facts and the remedy."""

    kind: Literal["neighbor-refused", "route-refused", "reload", "confirmation", "child"]
    text: str
    peer: str = ""


Effect = Write | Install | Check | RestartChild | AskAgain | SessionChanged | RoutesChanged | Problem
