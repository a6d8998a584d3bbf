"""What a speaker writes into the cluster is written on changes, whatever restarts."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable

import pytest

from metalbgp.cluster.resources import (
    BGP_PEERS,
    CONFIGURATION_STATES,
    NODE_STATES,
    SERVICE_BGP_STATUSES,
    Reference,
)
from metalbgp.model.reasons import MaximumReached, Reason, WithdrawalsHeld
from metalbgp.model.report import NodeReport
from metalbgp.speaker import status
from metalbgp.speaker.status import INTENTS, Detail, Intent, Status
from tests.fakeapi import FakeClient

SPACE, NODE = "metallb-system", "node-1"


class Life:
    """One agent's Status, until it has said everything."""

    def __init__(self, client: FakeClient, pod: str) -> None:
        self.intents: dict[Intent, Detail] = {}
        self.uids: dict[str, str] = {}
        self.events: list[str] = []
        self.warnings: list[tuple[Reference, Reason]] = []
        self.client = client
        self.changed, self._urgent = asyncio.Event(), asyncio.Event()
        self._status = Status(
            client,
            lambda about, *_: self.events.append(about.name),
            node=NODE,
            pod=pod,
            pod_uid=f"uid-{pod}",
            namespace=SPACE,
            installation=SPACE,
            report=lambda: NodeReport(node=NODE),
            intents=lambda: self.intents,
            owners=list,
            mistakes=tuple,
            warnings=lambda: self.warnings,
            uids=lambda: self.uids,
            now=lambda: "now",
        )
        self._task = asyncio.create_task(self._status.run(self.changed, self._urgent))

    async def announce(self, names: Iterable[str], *peers: str) -> list[tuple[str, str]]:
        """(verb, what it wrote) of the ServiceBGPStatuses."""
        self.intents = {("bgp", f"shop/{name}"): peers for name in names}
        self.client.writes.clear()
        self.changed.set()
        self._urgent.set()  # no pause is waited for
        for _ in range(20 * len(self.intents) + 200):  # every request of a fake is one turn of the loop
            await asyncio.sleep(0)
        ours = [one for one in self.client.writes if one[1].startswith(SERVICE_BGP_STATUSES.plural)]
        return [(verb, next(iter(body), "")) for verb, _, body in ours]

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def shown(client: FakeClient) -> dict[str, tuple[list[str], str]]:
    """service → peers and the Pod that it goes with."""
    return {
        one["status"]["serviceName"]: (one["status"]["peers"], one["metadata"]["ownerReferences"][0]["uid"])
        for (plural, _, _), one in client.objects.items()
        if plural == SERVICE_BGP_STATUSES.plural
    }


@pytest.fixture
async def lives() -> AsyncIterator[Callable[[FakeClient, str], Life]]:
    begun: list[Life] = []

    def begin(client: FakeClient, pod: str) -> Life:
        begun.append(Life(client, pod))
        return begun[-1]

    yield begin
    for life in begun:
        await life.end()


Begin = Callable[[FakeClient, str], Life]


def bare(
    monkeypatch: pytest.MonkeyPatch,
    client: FakeClient,
    report: Callable[[], NodeReport],
    owners: Callable[[], list[dict[str, str]]],
) -> status.Status:
    """One that waits for nothing and announces nothing."""
    for name in ("SETTLE", "PACE"):
        monkeypatch.setattr(status, name, 0.0)
    return status.Status(
        client,
        lambda *_: None,
        node=NODE,
        pod="p",
        pod_uid="",
        namespace=SPACE,
        installation=SPACE,
        report=report,
        intents=dict,
        owners=owners,
        mistakes=tuple,
        warnings=tuple,
        uids=dict,
        now=lambda: "now",
    )


async def test_a_node_state_is_written_again_after_a_while_though_nothing_changed_but_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(status, "REPORTED_EVERY", 0.2)
    client, asked = FakeClient(), 0

    def report() -> NodeReport:
        nonlocal asked
        asked += 1
        return NodeReport(node=NODE, updated=str(asked), heard=str(asked))

    made = bare(monkeypatch, client, report, list)
    changed, began = asyncio.Event(), asyncio.get_running_loop().time()
    task = asyncio.create_task(made.run(changed, asyncio.Event()))

    def written() -> int:
        return sum(one[1].startswith("nodestates") for one in client.writes)

    async with asyncio.timeout(10):
        while written() < 3:
            changed.set()  # the time alone is no change, however often it is looked at
            await asyncio.sleep(0.002)
    assert asyncio.get_running_loop().time() - began >= 0.4 and asked > 3
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


MADE = [("POST", "metadata"), ("PATCH", "status")]


async def test_a_restart_writes_no_intent_that_stands_and_a_new_pod_takes_it_over(lives: Begin) -> None:
    client = FakeClient()
    first, again, after = (lives(client, pod) for pod in ("a", "a", "b"))
    assert await first.announce(["x", "y"], "tor") == MADE * 2
    assert (await again.announce(["x", "y"], "tor"), again.events) == ([], [])
    assert (await after.announce(["x", "y"], "tor"), after.events) == ([("PATCH", "metadata")] * 2, [])
    assert shown(client) == {"x": (["tor"], "uid-b"), "y": (["tor"], "uid-b")}
    assert await after.announce(["x"], "spine") == [("DELETE", ""), ("PATCH", "status")]
    assert shown(client) == {"x": (["spine"], "uid-b")}


async def test_an_intent_that_went_with_the_pod_before_is_made_again(lives: Begin) -> None:
    client = FakeClient()
    await lives(client, "a").announce(["x"], "tor")

    def collect(verb: str, plural: str) -> None:
        if verb == "PATCH" and plural == SERVICE_BGP_STATUSES.plural:
            client.fails = lambda *_: None
            name = next(name for what, _, name in client.objects if what == plural)
            client.take(SERVICE_BGP_STATUSES, name, SPACE)

    client.fails = collect
    assert await lives(client, "b").announce(["x"], "tor") == MADE
    assert shown(client) == {"x": (["tor"], "uid-b")}


async def test_an_intent_that_other_hands_removed_is_made_again_when_it_changes(lives: Begin) -> None:
    client = FakeClient()
    one = lives(client, "a")
    await one.announce(["x"], "tor")
    name = next(name for what, _, name in client.objects if what == SERVICE_BGP_STATUSES.plural)
    client.take(SERVICE_BGP_STATUSES, name, SPACE)
    await one.announce(["x"], "spine")
    await one.announce(["x"], "spine")
    assert shown(client) == {"x": (["spine"], "uid-a")}


async def test_services_are_news_one_by_one_and_not_all_of_a_large_cluster_at_a_start(lives: Begin) -> None:
    many = [f"s{number}" for number in range(INTENTS + 1)]
    small, large = lives(FakeClient(), "a"), lives(FakeClient(), "a")
    await small.announce(["x", "y"], "tor")
    assert small.events == ["x", "y"]
    assert (await large.announce(many, "tor"), large.events) == ([], [])
    await large.announce([*many, "new"], "tor")
    assert large.events == ["new"]


async def test_a_service_that_was_made_anew_is_told_as_the_first_was_though_nothing_else_changed(
    lives: Begin,
) -> None:
    """Deleted and created between two passes: the old one's events went with it."""
    client = FakeClient()
    one = lives(client, "a")
    one.uids = {"shop/x": "old", "shop/y": "y"}
    await one.announce(["x", "y"], "tor")
    await one.announce(["x", "y"], "spine")
    one.uids = {"shop/x": "new", "shop/y": "y"}
    await one.announce(["x", "y"], "spine")
    assert one.events == ["x", "y", "x"]
    again = lives(client, "a")  # a life that finds it standing does not know for which it was
    again.uids = one.uids
    await again.announce(["x", "y"], "spine")
    assert again.events == []
    again.uids = {"shop/x": "newer", "shop/y": "y"}
    await again.announce(["x", "y"], "spine")
    assert again.events == ["x"]


async def test_what_a_limit_keeps_from_the_wire_is_one_event_when_it_begins(
    lives: Callable[[FakeClient, str], Life],
) -> None:
    life = lives(FakeClient(), "a")
    peer = Reference(BGP_PEERS, "tor", SPACE, "u")
    life.warnings = [(peer, WithdrawalsHeld(peer="tor", count=3, limit=2, window=60))]
    await life.announce(())
    life.warnings = [
        (peer, WithdrawalsHeld(peer="tor", count=4, limit=2, window=60)),
        (peer, MaximumReached(peer="tor", count=1, most=9)),
    ]
    await life.announce(())
    assert life.events == ["tor", "tor"]
    life.warnings = []
    await life.announce(())
    life.warnings = [(peer, MaximumReached(peer="tor", count=1, most=9))]
    await life.announce(())
    assert life.events == ["tor", "tor", "tor"]


async def test_a_node_that_was_made_anew_gets_its_state_again_though_nothing_else_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client, owners = FakeClient(), [{"kind": "Node", "name": NODE, "uid": "old"}]
    made = bare(monkeypatch, client, lambda: NodeReport(node=NODE), lambda: owners)
    changed = asyncio.Event()
    task = asyncio.create_task(made.run(changed, asyncio.Event()))
    mine = [
        (NODE_STATES.plural, SPACE, NODE),
        (CONFIGURATION_STATES.plural, SPACE, f"speaker-{NODE}"),
    ]

    async def owned() -> list[str]:
        changed.set()
        for _ in range(200):  # every request of a fake is one turn of the loop
            await asyncio.sleep(0)
        return [client.objects[key]["metadata"]["ownerReferences"][0]["uid"] for key in mine]

    assert await owned() == ["old", "old"]
    owners = [{"kind": "Node", "name": NODE, "uid": "new"}]
    del client.objects[mine[0]]  # the garbage collector was faster here, and was not there
    assert await owned() == ["new", "new"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
