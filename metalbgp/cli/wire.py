"""What each speaker's journal says: the truth per route, asked through pods/exec, many nodes at once.

In:  the speakers' Pods. Out: one Heard a node: its sessions and routes, or why it did not answer.
Elsewhere: the journal itself is bgp/journal.py; the speaker's end is `python -m metalbgp.speaker.ask`; how
     many are asked, and for how long, is pod_answers.py.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from metalbgp.cli.ages import from_unix
from metalbgp.cli.api import Api
from metalbgp.cli.pod_answers import LIMIT, PodAnswer, ask_pods
from metalbgp.cli.pods import Pod
from metalbgp.model.routes import Attributes

COMMAND = ("python3", "-m", "metalbgp.speaker.ask", "journal")
NO_RIGHT = (
    "not allowed to ask the speakers what is on the wire (create pods/exec); "
    "routes are shown as the speakers' NodeStates report them"
)


class Entry(Struct, frozen=True):
    """One prefix on one session, as its speaker has it."""

    peer: str  # address
    prefix: str
    wanted: Attributes | None
    told: Attributes | None
    confirmed: Attributes | None
    state: str
    since: str


class Heard(Struct, frozen=True):
    node: str
    entries: tuple[Entry, ...] = ()
    local: Mapping[str, str] = {}  # peer address → our end of the session
    silent: str = ""  # why there is no answer; "": it answered


class Wire(Struct, frozen=True):
    heard: tuple[Heard, ...] = ()
    note: str = ""  # the right is missing: nobody was heard


class _Journal(Struct):
    sessions: list[dict[str, Any]] = []
    routes: list[tuple[str, str, Attributes | None, Attributes | None, Attributes | None, str, float]] = []


class _Wrapped(Struct):
    journal: _Journal | None = None
    sessions: list[dict[str, Any]] | None = None
    routes: msgspec.Raw = msgspec.Raw(b"[]")


def decode(node: str, text: str) -> Heard:
    wrapped = msgspec.json.decode(text, type=_Wrapped)
    journal = wrapped.journal or msgspec.json.decode(text, type=_Journal)
    entries = tuple(
        Entry(peer, prefix, wanted, told, confirmed, state, from_unix(since))
        for peer, prefix, wanted, told, confirmed, state, since in journal.routes
    )
    local = {str(one["peer"]): str(one.get("local") or "") for one in journal.sessions if one.get("peer")}
    return Heard(node=node, entries=entries, local=local)


async def ask_all(api: Api, pods: Iterable[Pod], limit: float = LIMIT) -> Wire:
    """Every speaker."""
    answers = await ask_pods(api, ((pod, COMMAND) for pod in pods), limit)
    return Wire(note=NO_RIGHT) if answers is None else Wire(heard=tuple(_heard(one) for one in answers))


def _heard(answer: PodAnswer) -> Heard:
    if answer.silent:
        return Heard(node=answer.node, silent=answer.silent)
    try:
        return decode(answer.node, answer.text)
    except (msgspec.DecodeError, ValueError) as error:
        return Heard(node=answer.node, silent=f"an answer that cannot be read: {error}")
