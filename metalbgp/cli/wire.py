"""What each speaker's journal says: the truth per route, asked through pods/exec, many nodes at once.

In:  the speakers' Pods. Out: one Heard a node: its sessions and routes, or why it did not answer.
Elsewhere: the journal itself is bgp/journal.py; the speaker's end is `python -m metalbgp.speaker.ask`.

A node that is slow or dead delays nothing: each has LIMIT seconds, AT_ONCE are asked at a time.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from metalbgp.cli.ages import from_unix
from metalbgp.cli.api import Api
from metalbgp.cli.errors import CliError, NotAllowed
from metalbgp.cli.pods import Pod
from metalbgp.model.routes import Attributes

AT_ONCE = 16
LIMIT = 5.0  # seconds a node may take
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
    """Every speaker, AT_ONCE at a time. The first refusal ends it: the right is the same everywhere."""
    turn = asyncio.Semaphore(AT_ONCE)
    tasks = [asyncio.create_task(_ask(api, pod, turn, limit)) for pod in pods if pod.node]
    try:
        return Wire(heard=tuple(sorted(await asyncio.gather(*tasks), key=lambda heard: heard.node)))
    except NotAllowed:
        return Wire(note=NO_RIGHT)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _ask(api: Api, pod: Pod, turn: asyncio.Semaphore, limit: float) -> Heard:
    if not pod.running:
        return Heard(node=pod.node, silent=f"speaker {pod.name} is {pod.phase or 'not running'}")
    async with turn:
        try:
            async with asyncio.timeout(limit):
                text = await api.execute(pod.namespace, pod.name, pod.container, COMMAND)
            return decode(pod.node, text)
        except TimeoutError:
            return Heard(node=pod.node, silent=f"no answer within {limit:g} s")
        except NotAllowed:
            raise
        except CliError as error:
            return Heard(node=pod.node, silent=f"no answer: {error}")
        except (msgspec.DecodeError, ValueError) as error:
            return Heard(node=pod.node, silent=f"an answer that cannot be read: {error}")
