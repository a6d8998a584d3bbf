"""The measurements: Services one by one on a quiet machine, then many at once, then all of them deleted.

In:  a Subject. Out: figures, name -> number; names and units are listed in table.py.
A moment is taken before the request that starts something and when its effect is seen from outside.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

from bench.api import Api
from bench.cost import cpu_by_component, cpu_by_process, memory_by_component, pods, sum_of
from bench.load import NAMESPACE, Load, Moment
from bench.place import Place
from bench.routes import Capture, Routes
from bench.watch import Addresses
from bench.wire import Update

Figures = dict[str, float]
PATIENCE: Final = 180.0


class NotReached(Exception):
    """Something did not happen in time; the message says what and for whom."""


@dataclass(frozen=True)
class Subject:
    """What is measured, and where its objects and its pods are."""

    api: Api
    place: Place
    load: Load
    system: str  # namespace of its pods and its configuration
    say: Callable[[str], None]

    @property
    def nodes(self) -> int:
        return len(self.place.nodes)


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank: an observed value, never one between two."""
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered)) - 1)]


def warm_up(it: Subject) -> None:
    """One Service, until every node's route is in the router: sessions are up and nothing is cold."""
    with Routes(it.place) as routes, Addresses(it.api, NAMESPACE) as seen:
        it.load.create("warm")
        prefix = _prefix(_addresses(seen, {"warm"})["warm"])
        _reached(routes.wait({prefix}, it.nodes, PATIENCE), "routes of all nodes for the first Service")
        it.load.delete("warm")
        _reached(routes.wait({prefix}, 0, PATIENCE), "withdrawal of the first Service")


def one_by_one(it: Subject, count: int) -> Figures:
    """Each Service alone: create, wait for every node's route, delete, wait until it is gone."""
    names = [f"one-{number}" for number in range(count)]
    created: dict[str, Moment] = {}
    deleted: dict[str, Moment] = {}
    with Capture(it.place) as capture, Routes(it.place) as routes, Addresses(it.api, NAMESPACE) as seen:
        for number, name in enumerate(names):
            created[name] = it.load.create(name)
            prefix = _prefix(_addresses(seen, {name})[name])
            _reached(routes.wait({prefix}, it.nodes, PATIENCE), f"routes of {name}")
            deleted[name] = it.load.delete(name)
            _reached(routes.wait({prefix}, 0, PATIENCE), f"withdrawal of {name}")
            if number % 10 == 9:
                it.say(f"{number + 1} of {count} Services, one by one")
            time.sleep(0.2)  # the next one starts on a quiet machine
    times: dict[str, list[float]] = {}
    for name in names:
        prefix = _prefix(seen.addresses[name][1])
        start, end = created[name].before, deleted[name].before
        wire_on = _by_peer(capture.updates, prefix, True, start)
        wire_off = _by_peer(capture.updates, prefix, False, end)
        points = {
            "post": created[name].after - start,
            "address": seen.addresses[name][0] - start,
            "update": min(wire_on) - start,
            "updates": max(wire_on) - start,
            "route": _since(routes.first(prefix, 1, start), start),
            "routes": _since(routes.first(prefix, it.nodes, start), start),
            "withdraw": max(wire_off) - end,
            "gone": _since(routes.first(prefix, 0, end), end),
        }
        for point, seconds in points.items():
            times.setdefault(point, []).append(seconds * 1000)
    return {
        f"one.{point}.{label}": percentile(values, share)
        for point, values in times.items()
        for label, share in (("p50", 0.5), ("p99", 0.99))
    }


def burst(it: Subject, count: int, threads: int) -> Figures:
    """Many at once; times count from the last answer to a create (or delete): a user waits for the last."""
    names = [f"many-{number}" for number in range(count)]
    figures: Figures = {}
    with Capture(it.place) as capture, Routes(it.place) as routes, Addresses(it.api, NAMESPACE) as seen:
        created = it.load.create_all(names, threads)
        begin, last = min(m.before for m in created.values()), max(m.after for m in created.values())
        figures["burst.create"] = last - begin
        it.say(f"{count} Services created in {last - begin:.1f} s")
        addresses = _addresses(seen, set(names))
        figures["burst.address"] = max(seen.addresses[name][0] for name in names) - last
        prefixes = {_prefix(address) for address in addresses.values()}
        if len(prefixes) < count:
            raise NotReached(
                f"{count - len(prefixes)} of {count} Services share an address that was asked for once"
            )
        it.say("all have an address")
        _reached(routes.wait(prefixes, it.nodes, PATIENCE), "routes of all nodes")
        first = [routes.first(prefix, 1, begin) for prefix in prefixes]
        every = [routes.first(prefix, it.nodes, begin) for prefix in prefixes]
        figures["burst.route"] = max(_since(when, last) for when in first)
        figures["burst.routes"] = max(_since(when, last) for when in every)
        it.say(f"all routes of all nodes {figures['burst.routes']:.1f} s after the last create")
        figures |= memory(it)
        deleted = it.load.delete_all(names, threads)
        gone = max(m.after for m in deleted.values())
        _reached(routes.wait(prefixes, 0, PATIENCE), "withdrawal")
        figures["burst.delete"] = gone - min(m.before for m in deleted.values())
        figures["burst.gone"] = max(_since(routes.first(prefix, 0, last), gone) for prefix in prefixes)
        it.say(f"all withdrawn {figures['burst.gone']:.1f} s after the last delete")
    announced = [update.time for update in capture.updates if update.announced and update.prefix in prefixes]
    figures["burst.update"] = max(announced) - last
    figures["burst.updates_per_route"] = len(announced) / (count * it.nodes)
    return figures


def memory(it: Subject) -> Figures:
    """The fullest pod of each component, whole and by process."""
    figures: Figures = {}
    for component, processes in sorted(memory_by_component(pods(it.api, it.place, it.system)).items()):
        total = sum_of(processes)
        figures[f"memory.{component}.rss"] = total.rss
        figures[f"memory.{component}.pss"] = total.pss
        for process, used in sorted(processes.items()):
            if len(processes) > 1:
                figures[f"memory.{component}.{process}.rss"] = used.rss
                figures[f"memory.{component}.{process}.pss"] = used.pss
    return figures


class Cpu:
    """CPU seconds by component, and of which process, between making this and `figures`."""

    def __init__(self, it: Subject) -> None:
        self._pods = pods(it.api, it.place, it.system)
        self._start = cpu_by_component(self._pods)
        self._processes = cpu_by_process(self._pods)

    def figures(self) -> Figures:
        used = {name: end - self._start[name] for name, end in cpu_by_component(self._pods).items()}
        parts = {
            name: end - self._processes.get(name, 0.0) for name, end in cpu_by_process(self._pods).items()
        }
        figures: Figures = {}
        for component, seconds in sorted(used.items()):
            figures[f"cpu.{component}"] = seconds
            mine = {name: part for name, part in parts.items() if name.startswith(f"{component}.")}
            if len(mine) > 1:
                figures |= {f"cpu.{name}": part for name, part in sorted(mine.items())}
        return figures | {"cpu.all": sum(used.values())}


def _addresses(seen: Addresses, names: set[str]) -> dict[str, str]:
    if not seen.wait(names, PATIENCE):
        missing = sorted(names - seen.addresses.keys())
        raise NotReached(
            f"{len(missing)} Services got no address in {PATIENCE:g} s, for example {missing[0]}"
        )
    return {name: seen.addresses[name][1] for name in names}


def _reached(missing: set[str], what: str) -> None:
    if missing:
        some = ", ".join(sorted(missing)[:5])
        raise NotReached(f"{what}: not within {PATIENCE:g} s for {len(missing)} prefixes: {some}")


def _by_peer(updates: Sequence[Update], prefix: str, announced: bool, since: float) -> list[float]:
    """The first such UPDATE of each node."""
    first: dict[str, float] = {}
    for update in updates:
        if update.prefix == prefix and update.announced is announced and update.time >= since:
            first.setdefault(update.peer, update.time)
    return list(first.values())


def _since(when: float | None, start: float) -> float:
    if when is None:
        raise NotReached("the router's kernel reported a route that the monitor missed")
    return when - start


def _prefix(address: str) -> str:
    return f"{address}/{128 if ':' in address else 32}"
