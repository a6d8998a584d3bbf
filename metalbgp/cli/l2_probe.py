"""`metalbgp l2 probe ADDRESS`: asked on the wire, from several nodes: who answers for it, and do two?

In:  the address; the speakers' pods, in which `python -m metalbgp.l2.ask` asks; the reflexes, for whose
     MAC it is and who owns the address.
Out: a row for each node and interface that asked and whoever answered it; one line says what that means.
     Exit code 1: nobody answers, two do, or one that should not.
Elsewhere: questions and answers themselves are l2/asking.py.

The owner's own node does not hear itself, so one node alone could not tell.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from metalbgp.cli import judge
from metalbgp.cli.access import missing_right, together
from metalbgp.cli.errors import CliError, Usage
from metalbgp.cli.explain_address import address_of
from metalbgp.cli.options import Look
from metalbgp.cli.pod_answers import PodAnswer, ask_pods
from metalbgp.cli.pods import Pod
from metalbgp.cli.reflexes import Reflex, Reflexes, ask_reflexes
from metalbgp.cli.render import Answer, Table, listed
from metalbgp.model.virtualips import VirtualIP

COMMAND = ("python3", "-S", "-m", "metalbgp.l2.ask")
COLUMNS = ("ASKED BY", "INTERFACE", "ANSWERED BY", "MAC", "TIMES", "AFTER", "")
NO_RIGHT = "not allowed to run anything in the speakers' pods (create pods/exec): the wire cannot be asked"
NOBODY, FOREIGN = "nobody", "foreign"


class ProbeRow(Struct, frozen=True):
    """What one node heard on one interface, from one station."""

    node: str
    interface: str = ""
    by: str = ""  # our node that answered; "foreign": none of ours; "nobody"; "": it could not ask
    mac: str = ""
    times: int = 0
    ms: float | None = None  # until the first answer
    failed: str = ""  # why it could not ask


class Probe(Struct, frozen=True):
    address: str
    verdict: str  # answered, two-answer, nobody-answers, foreign-answers, wrong-answers, not-asked
    message: str
    owners: tuple[str, ...] = ()  # that say they answer
    answered_by: tuple[str, ...] = ()  # nodes, and MACs of others
    rows: tuple[ProbeRow, ...] = ()


class _Station(Struct):
    interface: str
    mac: str
    ms: float
    times: int


class _Said(Struct):
    asked: tuple[str, ...] = ()
    answers: tuple[_Station, ...] = ()
    failed: dict[str, str] = {}


async def probe_answer(look: Look, text: str) -> Answer:
    address = address_of(text)
    if not address:
        raise Usage(f'"{text}" is no address: metalbgp l2 probe ADDRESS')
    cluster, wish = look.cluster, look.wish
    claims, configuration, speakers = await together(
        cluster.claims(), cluster.configuration(), cluster.speakers()
    )
    if not speakers.known:
        raise CliError(missing_right("pods"))
    wish.check((pod.node for pod in speakers.pods), wish.peers)
    reflexes = await ask_reflexes(cluster.api, speakers.pods, address)
    if reflexes.note:
        raise CliError(NO_RIGHT)
    vip = next((one for one in judge.mine(claims, configuration) if one.address == address), None)
    pods = askers(speakers.pods, vip, wish.nodes)
    answers = await ask_pods(cluster.api, questions(address, pods, reflexes))
    if answers is None:
        raise CliError(NO_RIGHT)
    rows = tuple(row for one in answers for row in rows_of(one, reflexes))
    found = judged(address, rows, reflexes)
    return Answer(
        kind="L2Probe",
        items=(found,),
        names=found.answered_by,
        table=Table(COLUMNS, tuple(cells(one) for one in rows)),
        lines=(found.message,),
        empty="no node asked",
        notes=cluster.notes,
        problems=int(found.verdict != "answered"),
    )


def askers(pods: Sequence[Pod], vip: VirtualIP | None, only: Sequence[str]) -> list[Pod]:
    """The candidates; every speaker, where there are none or only one; those that are named, if any are."""
    candidates = vip.candidates if vip is not None else ()
    if only:
        return [pod for pod in pods if pod.node in only]
    if len(candidates) > 1:
        return [pod for pod in pods if pod.node in candidates]
    return list(pods)


def questions(address: str, pods: Sequence[Pod], reflexes: Reflexes) -> Iterator[tuple[Pod, tuple[str, ...]]]:
    """Each on the interfaces that its reflex may use; those of a reflex that is silent by their names."""
    by_node: Mapping[str, Reflex] = {one.node: one for one in reflexes.speaking}
    for pod in pods:
        reflex = by_node.get(pod.node)
        yield pod, (*COMMAND, address, *(reflex.state.interfaces if reflex else ()))


def rows_of(answer: PodAnswer, reflexes: Reflexes) -> Iterator[ProbeRow]:
    if answer.silent:
        yield ProbeRow(answer.node, failed=answer.silent)
        return
    try:
        said: Any = msgspec.json.decode(answer.text, type=_Said)
    except (msgspec.DecodeError, ValueError) as error:
        yield ProbeRow(answer.node, failed=f"an answer that cannot be read: {error}")
        return
    for name, why in sorted(said.failed.items()):
        yield ProbeRow(answer.node, name, failed=why)
    if not said.asked and not said.failed:
        yield ProbeRow(answer.node, failed="no interface that may ask has a link")
    for name in said.asked:
        heard = [one for one in said.answers if one.interface == name]
        for one in heard:
            by = reflexes.node_of(one.mac) or FOREIGN
            yield ProbeRow(answer.node, name, by, one.mac, one.times, one.ms)
        if not heard:
            yield ProbeRow(answer.node, name, NOBODY)


def judged(address: str, rows: Sequence[ProbeRow], reflexes: Reflexes) -> Probe:
    owners = tuple(
        one.node for one in reflexes.speaking if (held := one.addresses.get(address)) and held.here
    )
    stations = tuple(dict.fromkeys(one.mac if one.by == FOREIGN else one.by for one in rows if one.mac))
    asked = sorted({one.node for one in rows if one.by})
    verdict, message = _verdict(address, stations, rows, owners, asked)
    return Probe(address, verdict, message, owners, stations, tuple(rows))


def _verdict(
    address: str,
    stations: Sequence[str],
    rows: Sequence[ProbeRow],
    owners: Sequence[str],
    asked: Sequence[str],
) -> tuple[str, str]:
    foreign = [one.mac for one in rows if one.by == FOREIGN]
    if len(stations) > 1:
        stations = sorted(stations, key=lambda one: (one in foreign, one))  # ours first
        count = "two answer" if len(stations) == 2 else f"{len(stations)} answer"
        said = " and ".join(f"{one}, no node of ours" if one in foreign else one for one in stations)
        return "two-answer", f"{count} for {address}: {said}"
    if not asked:
        return "not-asked", f"no node could ask for {address}"
    if not stations:
        if owners and set(asked) <= set(owners):
            lone = f"only {listed(asked)} asked, which owns {address}, and does not hear itself"
            return "not-asked", f"{lone}: let another node ask as well"
        says = f"; {listed(owners)} says it does" if owners else ""
        return "nobody-answers", f"nobody answers for {address}{says}; asked by {listed(asked)}"
    (station,) = stations
    if station in foreign:
        return "foreign-answers", f"answered by {station}, which is no node of ours"
    if station in owners:
        return "answered", f"answered by {station}, which owns it"
    who = f"{listed(owners)} owns it" if owners else "no node says that it owns it"
    return "wrong-answers", f"answered by {station}, but {who} (its kernel? metalbgp doctor)"


def cells(row: ProbeRow) -> tuple[str, ...]:
    return (
        row.node,
        row.interface or "-",
        row.by or "-",
        row.mac or "-",
        str(row.times) if row.times else "-",
        f"{row.ms:.1f} ms" if row.ms is not None else "-",
        row.failed,
    )
