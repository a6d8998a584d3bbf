"""python -m bench l2: how long nobody, or two, answer for an address, each figure beside its aim.

In:  root, nftables. Out: a table a figure group; 1 if an aim is missed.
Elsewhere: nodes, switch and client are those of tests/wire/l2_cluster.py, with real reflex processes; what
     may fail, and what must hold then, is tests/wire/test_l2_faults.py.

Times are the kernel's, of frames: from the moment of the fault (before the signal or the command) to the
first answer of the successor that the client got. It asks every 20 ms, which is in every figure.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rich.console import Console

from bench import aims, noise
from bench.aims import Line
from bench.processes import resident
from tests.wire.l2_cluster import QUESTION_EVERY, Cluster, Duty, cluster, load, wait_for

V4: Final = "192.0.2.100"
V6: Final = "2001:db8::100"
BOTH: Final = V4, V6
ORDER: Final = "n1", "n2", "n3"
DUTIES: Final = Duty(V4, ORDER), Duty(V6, ORDER)
TRIES: Final = 20
MANY: Final = 10_000
SAMPLE: Final = 20  # of the many: asked for every 20 ms
FAULTS: Final[dict[str, Callable[[Cluster], float]]] = {
    "kill": lambda it: it["n1"].kill(),
    "pause": lambda it: it["n1"].pause(),
    "link cut at the node": lambda it: it.cut("n1", "node"),
    "link cut at the switch": lambda it: it.cut("n1", "switch"),
    "port cut inside of the switch": lambda it: it.cut("n1", "inside"),
}


def main(console: Console, say: Callable[[str], None], *, tries: int = TRIES, minutes: float = 10.0) -> int:
    console.print(f"  before {noise.measure()}", highlight=False)
    good = True
    with cluster(nodes=3) as it:
        it.calm(*DUTIES)
        granted = it["n1"].state()["realtime"]
        groups: tuple[tuple[str, Callable[[], list[Line]]], ...] = (
            ("takeover, idle", lambda: takeovers(it, tries)),
            ("takeover, both cores busy", lambda: busy(lambda: takeovers(it, tries))),
            ("stop, return, partition", lambda: handovers(it, tries)),
            ("answers, idle", lambda: answers(it, 20.0)),
            ("answers, both cores busy", lambda: busy(lambda: answers(it, 20.0, aim=None))),
            (f"{MANY:,} addresses on a node", lambda: many(it, MANY)),
            ("both cores busy for long", lambda: busy(lambda: steady(it, minutes * 60))),
        )
        for title, measure in groups:
            say(title)
            good = aims.show(console, f"{title} (reflex: {granted})", measure()) and good
    console.print(f"  after  {noise.measure()}", highlight=False)
    return 0 if good else 1


def busy(measure: Callable[[], list[Line]]) -> list[Line]:
    """The same beside four processes that spin."""
    with load(4):
        return measure()


def takeovers(it: Cluster, tries: int) -> list[Line]:
    """Of the slower of two addresses, one a family."""
    lines = []
    doubled = 0.0
    for name, fail in FAULTS.items():
        taken = []
        for _ in range(tries):
            it.calm(*DUTIES)
            at = fail(it)
            taken.append(max(it.watch.first(address, it["n2"].mac(), at) for address in BOTH) - at)
            doubled = max(doubled, overlap(it, at - QUESTION_EVERY))
        lines.append(Line(f"{name}: p50 of {tries}", statistics.median(taken)))
        lines.append(Line(f"{name}: longest", max(taken), aim=0.5))
    return [*lines, Line("two answered for", doubled, aim=0)]


def handovers(it: Cluster, tries: int) -> list[Line]:
    """What nobody needs to notice: a clean stop, a return, the end of a partition."""
    stops, returns, heals, doubled = [], [], [], 0.0
    for _ in range(tries):
        it.calm(*DUTIES)
        at = it["n1"].stop()
        it.wait_owned("n2", BOTH)
        stops.append(silence(it, at - 0.05))
        back = time.time()
        it["n1"].start()
        it.wait_owned("n1", BOTH)
        returns.append(silence(it, back))
        doubled = max(doubled, overlap(it, at - 0.05))
    for _ in range(tries):
        it.calm(*DUTIES)
        it.part("n1")
        it.wait_owned("n2", BOTH)
        healed = it.join("n1")
        it.wait_owned("n1", BOTH)
        heals.append(overlap(it, healed))
    return [
        Line(f"clean stop: longest time between two answers, of {tries}", max(stops), aim=0.1),
        Line(f"return: longest time between two answers, of {tries}", max(returns), aim=0.1),
        Line("stop and return: two answered for", doubled, aim=0),
        Line(f"partition healed: two answered for, longest of {tries}", max(heals), aim=0.1),
    ]


def answers(it: Cluster, seconds: float, aim: float | None = 1.0) -> list[Line]:
    """From a question on the client's wire to the answer on it."""
    it.calm(*DUTIES)
    begin = time.time()
    time.sleep(seconds)
    end = it.watch.settled()
    lines = []
    for name, address in (("ARP", V4), ("NDP", V6)):
        asked = [at for at, _ in it.watch.seen("q", address, begin, end)]
        heard = iter(it.watch.answers(address, asked[0]))
        taken = sorted((next(heard)[0] - at) * 1000 for at in asked)
        said = f"{name}: question to answer, of {len(taken)}"
        lines.append(Line(f"{said}, p50", statistics.median(taken), "ms"))
        lines.append(Line(f"{said}, p99", taken[int(len(taken) * 0.99)], "ms", aim))
    return lines


def many(it: Cluster, count: int, settle: float = 6.0) -> list[Line]:
    """The owner of so many dies, so many seconds after it took them on (it tells of them for five)."""
    addresses = [f"10.64.{n // 250}.{n % 250 + 1}" for n in range(count)]
    sample = addresses[:: max(1, count // SAMPLE)] + addresses[-1:]
    duties = [Duty(address, ORDER) for address in addresses]
    with told(it, duties, sample):
        time.sleep(settle)
        it.watch.ask(*sample)
        it.wait_owned("n1", sample)
        memory = {name: resident(it[name].pid) for name in ORDER[:2]}
        at = it["n1"].kill()
        answered = max(it.watch.first(address, it["n2"].mac(), at, 60.0) for address in sample) - at

        wait_for(lambda: len(said(it, "n2", at)) == count, "a word about every address", 60)
        last = max(said(it, "n2", at).values()) - at
        after = resident(it["n2"].pid)
        lost = overlap(it, at - QUESTION_EVERY, sample)
    return [
        Line(f"{len(sample)} of them, spread: all are answered after", answered, aim=2.0),
        Line("until the last was told to everybody (first gratuitous frame)", last, aim=2.0),
        Line("two answered for", lost, aim=0),
        Line("memory of the owner", memory["n1"], "MiB", 40.0),
        Line("memory of the successor before", memory["n2"], "MiB", 40.0),
        Line("memory of the successor after", after, "MiB", 40.0),
    ]


@contextmanager
def told(it: Cluster, duties: Sequence[Duty], sample: Sequence[str]) -> Iterator[None]:
    """Every node has these; n1 answers."""
    it.calm(*DUTIES)
    for node in it.nodes.values():
        node.retell(duties)
    it.watch.ask(*sample)
    try:
        it.wait_owned("n1", sample)
        wait_for(lambda: it["n1"].state()["self"]["owned"] == len(duties), "all to be taken on", 60)
        yield
    finally:
        it.watch.ask()
        for node in it.nodes.values():
            node.duties = () if not node.running else node.duties
        it.calm(*DUTIES)


def said(it: Cluster, by: str, since: float) -> dict[str, float]:
    """When that node first told everybody of each address."""
    found: dict[str, float] = {}
    for one in list(it.watch.sightings):
        if one.kind == "g" and one.mac == it[by].mac() and one.at >= since:
            found.setdefault(one.address, one.at)
    return found


def steady(it: Cluster, seconds: float) -> list[Line]:
    """Nobody fails: every change of an owner is a false one."""
    it.calm(*DUTIES)
    before, begin = changes(it), time.time()
    time.sleep(seconds)
    end = it.watch.settled()
    asked = sum(len(it.watch.seen("q", address, begin, end)) for address in BOTH)
    return [
        Line(f"false takeovers in {seconds:.0f} s", changes(it) - before, "", 0),
        Line("stalls that a node saw of itself", stalls(it), "", 0),
        Line("longest time between two answers", silence(it, begin)),
        Line("questions", asked, ""),
        Line("two answered for", overlap(it, begin), aim=0),
    ]


def changes(it: Cluster) -> int:
    """How many addresses came to a node or left it, as its agent heard."""
    return sum(len(node.there.changes(kind)) for node in it.nodes.values() for kind in ("gained", "lost"))


def stalls(it: Cluster) -> int:
    return sum(int(node.state()["self"]["stalls"]) for node in it.nodes.values())


def silence(it: Cluster, since: float) -> float:
    end = it.watch.settled()
    return max(it.watch.silence(address, since, end) for address in BOTH)


def overlap(it: Cluster, since: float, addresses: Sequence[str] = BOTH) -> float:
    end = it.watch.settled()
    return max(it.watch.overlap(address, since, end) for address in addresses)
