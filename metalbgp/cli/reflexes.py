"""What each node's reflex says of L2: the truth of who answers, asked through pods/exec, many nodes at once.

In:  the speakers' Pods. Out: one Reflex a node: what it is, whom it hears, each address as it sees it; or why
     it did not answer.
Elsewhere: the node's end is `python -m metalbgp.reflex.ask`; its words are reflex/report.py; what follows
     from many of them together is l2_rows.py.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct, field

from metalbgp.cli.api import Api
from metalbgp.cli.pod_answers import LIMIT, PodAnswer, ask_pods
from metalbgp.cli.pods import Pod

COMMAND = ("python3", "-S", "-m", "metalbgp.reflex.ask")
NOTHING = "-"  # in place of addresses: none of them
NO_RIGHT = (
    "not allowed to ask the nodes who answers in L2 (create pods/exec); "
    "owners are shown as the speakers' NodeStates report them"
)


class Myself(Struct, frozen=True):
    """What a node is among the candidates."""

    node: str = ""
    state: str = ""  # active, listening, leaving, no-duties; no-key, duplicate, isolated, cut-off
    why: str = ""
    key: str = ""  # of its heartbeat key: 8 hexadecimal digits of the SHA-256
    interval: float = 0.0  # seconds between heartbeats
    multiplier: int = 0
    stalls: int = 0
    owned: int = 0
    duties: int = 0


class Member(Struct, frozen=True):
    """Another node, as this one hears it."""

    node: str
    state: str  # live, listening, leaving, silent, deaf, duplicate, unheard
    interfaces: tuple[str, ...] = ()
    mac: str = ""
    ago: float | None = None
    loss: float = 0.0
    transport: str = ""
    lost: tuple[str, ...] = ()


class Segment(Struct, frozen=True):
    mac: str = ""
    members: int = 0
    transport: str = ""  # ethernet, udp
    silent: bool = False  # nobody is heard where others were


class Conflict(Struct, frozen=True):
    """Somebody else says that an address is his."""

    address: str
    interface: str
    mac: str
    seen: int = 0
    ago: float = 0.0


class Place(Struct, frozen=True, array_like=True):
    node: str
    state: str


class Held(Struct, frozen=True):
    """One address as one node sees it."""

    owner: str = ""
    here: bool = False
    interfaces: tuple[str, ...] = ()
    candidates: tuple[Place, ...] = ()
    since: float = 0.0
    took: float | None = None
    cause: str = ""
    requests: int = 0
    replies: int = 0
    gratuitous: int = 0


class State(Struct, frozen=True):
    realtime: str = ""
    myself: Myself = field(default=Myself(), name="self")
    members: tuple[Member, ...] = ()
    segments: Mapping[str, Segment] = {}
    interfaces: tuple[str, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    send_errors: int = 0
    problems: tuple[str, ...] = ()


class Host(Struct, frozen=True):
    """What the node's kernel does beside us (reflex/host.py). None: it could not be read."""

    ipv4: Mapping[str, Mapping[str, int]] = {}  # settings by interface, and `all`
    forward: int | None = None
    forward6: int | None = None
    default: tuple[str, ...] = ()  # interfaces of IPv4's default route
    addresses: tuple[tuple[str, str], ...] = ()  # with their interface
    more: int = 0  # addresses that are not told
    links: tuple[str, ...] = ()
    capabilities: str = ""

    def setting(self, interface: str, name: str) -> int:
        """What counts on the interface: the greater of its own and that for all (all our settings do so)."""
        return max(self.ipv4.get(one, {}).get(name, 0) for one in ("all", interface))


class Reflex(Struct, frozen=True):
    node: str
    state: State = State()
    addresses: Mapping[str, Held] = {}
    host: Host | None = None
    silent: str = ""  # why there is no answer; "": it answered


class Reflexes(Struct, frozen=True):
    heard: tuple[Reflex, ...] = ()
    note: str = ""  # the right is missing: nobody was heard

    @property
    def speaking(self) -> tuple[Reflex, ...]:
        return tuple(one for one in self.heard if not one.silent)

    def node_of(self, mac: str) -> str:
        """Whose interface has this MAC; "": none of ours, as far as they were heard."""
        for one in self.speaking:
            if any(segment.mac == mac for segment in one.state.segments.values()):
                return one.node
        for one in self.speaking:  # a node that is not heard through the API may be heard by its neighbours
            for member in one.state.members:
                if member.mac == mac:
                    return member.node
        return ""


class _Answer(Struct):
    state: State
    addresses: dict[str, Held] = {}
    host: Host | None = None


async def ask_reflexes(
    api: Api, pods: Iterable[Pod], *words: str, question: str = "state", limit: float = LIMIT
) -> Reflexes:
    """`words`: only these addresses, or NOTHING."""
    command = (*COMMAND, question, *words)
    answers = await ask_pods(api, ((pod, command) for pod in pods), limit)
    if answers is None:
        return Reflexes(note=NO_RIGHT)
    return Reflexes(heard=tuple(decoded(one) for one in answers))


def decoded(answer: PodAnswer) -> Reflex:
    if answer.silent:
        return Reflex(answer.node, silent=answer.silent)
    try:
        found: Any = msgspec.json.decode(answer.text, type=_Answer)
    except (msgspec.DecodeError, ValueError) as error:
        return Reflex(answer.node, silent=f"an answer that cannot be read: {error}")
    return Reflex(answer.node, found.state, found.addresses, found.host)
