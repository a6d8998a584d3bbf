"""What the Pods of this node say against what a VirtualIP grants it, case by case."""

from collections.abc import Mapping
from typing import Any

import pytest

from metalbgp.model.reasons import EndpointsTerminate, NoServingPod
from metalbgp.model.services import Pod
from metalbgp.model.virtualips import VirtualIP
from metalbgp.speaker.announcer import Announcer, Changes
from metalbgp.speaker.own_pods import LAG, OwnPods
from tests.values import bgp, configuration, holder, l2, node, peer, vip

ADDRESS, OTHER = "10.252.252.100", "10.252.252.101"
APP = {"app": "nginx"}


def pod(name: str = "a", *, namespace: str = "web", labels: Mapping[str, str] = APP, **fields: Any) -> Pod:
    defaults: dict[str, Any] = {"node": "n1", "address": "10.244.1.7", "phase": "Running", "ready": True}
    return Pod(namespace=namespace, name=name, labels=labels, **defaults | fields)


def local(ready: Mapping[str, int] | None = None, **fields: Any) -> VirtualIP:
    defaults: dict[str, Any] = {"bgp": ("external",), "l2": ("segment",), "selector": APP, "serving": True}
    one = holder(policy="Local", nodes=ready if ready is not None else {"n1": 1}, **defaults | fields)
    return vip(ADDRESS, {"web/nginx": one}, candidates=("n1", "n2"))


class World:
    """A speaker on n1: what it announces in BGP and answers for in L2."""

    def __init__(self) -> None:
        self.now = 100.0
        self.speaker = Announcer(lambda: self.now)
        self.speaker.set_node(node("n1"))
        self.speaker.set_configuration(configuration(peer("tor"), bgp(), l2("segment")))
        self.speaker.patience.started = True

    def grants(self, one: VirtualIP | None = None) -> Changes:
        return self.speaker.set_vip(ADDRESS, local() if one is None else one)

    def has(self, one: Pod) -> Changes:
        return self.speaker.set_pod(f"{one.namespace}/{one.name}", one)

    def lacks(self, name: str = "web/a") -> Changes:
        return self.speaker.set_pod(name, None)

    def passes(self, seconds: float = LAG) -> Changes:
        self.now += seconds
        return self.speaker.due()

    @property
    def announces(self) -> bool:
        assert bool(self.speaker.wanted()) == bool(self.speaker.table.duties())
        return bool(self.speaker.wanted())

    def reasons(self) -> set[str]:
        return {one.reason.name for one in self.speaker.plans[ADDRESS].refused}


@pytest.fixture
def served() -> World:
    """One Pod here, and the controller knows it for long."""
    world = World()
    world.has(pod())
    world.grants()
    world.passes()
    assert world.announces
    return world


ENDS = [
    pod(ready=False),
    pod(phase="Succeeded"),
    pod(phase="Failed"),
    pod(address=""),
    pod(labels={"app": "other"}),
    None,
]


@pytest.mark.parametrize("end", ENDS)
def test_the_last_pod_ends_and_the_node_says_no_at_once_in_both_protocols(
    served: World, end: Pod | None
) -> None:
    changes = served.lacks() if end is None else served.has(end)
    assert [attributes for _, _, attributes in changes.wants] == [None]
    ((address, duty),) = changes.duties
    assert address == ADDRESS and duty is not None and duty.declined  # the candidates after it must hear that
    assert not served.announces and served.reasons() == {"NoServingPod"}
    assert served.has(pod()).wants  # and it is back with its Pod, for the grant still stands
    assert served.announces


def test_one_of_two_pods_that_ends_changes_nothing(served: World) -> None:
    served.has(pod("b"))
    assert served.lacks() == Changes()
    assert served.announces


def test_a_pod_that_terminates_and_still_answers_serves(served: World) -> None:
    assert served.has(pod(deleting=True)) == Changes()
    assert served.announces
    served.lacks()
    assert not served.announces


def test_a_pod_that_ends_is_no_longer_waited_for_as_one_that_terminates(served: World) -> None:
    """It terminates while another node has only just begun: its route stays a moment, but no dead one."""
    served.has(pod(deleting=True))
    served.grants(local({"n2": 1}, terminating={"n1": 1}))
    assert served.speaker.wanted()
    assert served.lacks().wants
    assert not served.speaker.wanted()
    reasons = {type(one.reason) for one in served.speaker.plans[ADDRESS].refused}
    assert NoServingPod in reasons and EndpointsTerminate not in reasons


@pytest.mark.parametrize(
    "one",
    [
        local(selector={}),
        vip(ADDRESS, {"web/nginx": holder(bgp=("external",), l2=("segment",), serving=True, selector=APP)}),
    ],
)
def test_without_a_selector_and_under_cluster_pods_say_nothing(one: VirtualIP) -> None:
    world = World()
    world.has(pod())
    world.grants(one)
    world.passes()
    assert world.lacks() == Changes()
    assert world.speaker.wanted()


def test_pods_of_other_services_namespaces_and_labels_say_nothing(served: World) -> None:
    for one in (pod("b", namespace="shop"), pod("c", labels={"app": "nginx-2"}), pod("d", labels={})):
        assert served.has(one) == served.lacks(f"{one.namespace}/{one.name}") == Changes()
    served.lacks()
    assert served.has(pod("b", namespace="shop")) == Changes()
    assert not served.announces


def test_publish_not_ready_counts_pods_that_are_not_ready_until_they_are_gone() -> None:
    world = World()
    world.has(pod(ready=False))
    world.grants(local(publish_not_ready=True))
    world.passes()
    assert world.announces
    world.has(pod(ready=False, phase="Failed"))
    assert not world.announces


def test_who_was_never_seen_to_serve_cannot_be_missed() -> None:
    """The view is not complete, or away, or the endpoints are written by hand."""
    world = World()
    world.grants()
    world.has(pod(ready=False))
    world.lacks()
    world.passes(60)
    assert world.announces


def test_what_is_not_granted_is_not_announced_whatever_serves() -> None:
    world = World()
    world.grants(local({"n2": 1}))
    world.has(pod())
    assert not world.announces and world.reasons() == {"NoLocalEndpoint"}


def test_a_count_that_rises_is_believed_for_a_moment_and_then_what_is_seen(served: World) -> None:
    served.lacks()
    served.grants(local({"n1": 2}))
    assert served.announces
    served.passes(60)
    assert served.announces  # its new Pod was not seen: nothing is known of it
    served.has(pod("b"))
    served.lacks("web/b")
    assert not served.announces


def test_an_end_that_comes_late_and_before_the_new_beginning_does_not_flap(served: World) -> None:
    """The controller is faster than the view: a Pod went and another one came."""
    served.grants(local({"n1": 0}))
    assert not served.announces
    served.grants(local({"n1": 1}))
    assert served.announces
    served.now += LAG / 2
    assert served.lacks() == Changes()
    assert served.has(pod("b")) == Changes()
    assert served.passes(60) == Changes()
    assert served.announces


def test_an_end_in_that_moment_counts_when_it_is_over(served: World) -> None:
    served.grants(local({"n1": 2}))
    assert served.lacks() == Changes()
    assert served.speaker.deadline == served.now + LAG
    assert served.passes().wants
    assert not served.announces and served.speaker.deadline is None


@pytest.mark.parametrize("counts", [{"n1": 1}, {"n1": 1, "n2": 7}, {"n2": 2}])
def test_a_count_that_does_not_rise_is_no_news(served: World, counts: dict[str, int]) -> None:
    served.lacks()
    served.grants(local(counts, last_resort=True, terminating={} if "n1" in counts else {"n1": 3}))
    assert not served.announces
    assert served.passes(60) == Changes()


def test_every_service_behind_an_address_is_judged_for_itself() -> None:
    world = World()
    web = holder(policy="Local", bgp=("external",), selector=APP, serving=True, nodes={"n1": 1})
    dns = holder(policy="Local", bgp=("external",), selector={"app": "dns"}, serving=True, nodes={"n1": 1})
    world.has(pod())
    world.has(pod("d", labels={"app": "dns"}))
    world.grants(vip(ADDRESS, {"web/nginx": web, "web/dns": dns}))
    world.speaker.set_vip(OTHER, vip(OTHER, {"web/nginx": web}))
    world.passes()
    world.lacks()
    assert {prefix for _, prefix in world.speaker.wanted()} == {f"{ADDRESS}/32"}
    world.lacks("web/d")
    assert not world.speaker.wanted()


def test_a_service_that_is_made_anew_begins_anew(served: World) -> None:
    served.lacks()
    served.grants(local(uid="another"))
    assert served.announces


def test_a_pod_event_asks_only_the_services_that_the_pod_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    pods = OwnPods()
    for number in range(1000):
        one = holder(policy="Local", selector={"app": f"s{number}"}, serving=True, nodes={"n1": 1})
        address = f"10.1.{number // 250}.{number % 250}"
        pods.see(vip(address, {f"web/s{number}": one}), "n1", 0.0)
    asked: list[str] = []
    judge = pods._judge
    monkeypatch.setattr(pods, "_judge", lambda grant, now: asked.append(grant[1]) or judge(grant, now))
    for step in (pod("x", labels={"app": "s7", "tier": "front"}), None):
        pods.set_pod("web/x", step, 10.0)
        assert asked == ["web/s7"]
        asked.clear()
    assert pods.ended == {("10.1.0.7", "web/s7")}


def test_what_had_ended_is_still_ended_after_a_restart_unless_something_is_known(served: World) -> None:
    served.lacks()
    memory = served.speaker.pods.memory()
    assert [(one.address, one.service, one.count) for one in memory] == [(ADDRESS, "web/nginx", 1)]
    for counts, announced in (({"n1": 1}, False), ({"n1": 2}, True)):
        world = World()
        world.speaker.pods.remember(memory)
        world.grants(local(counts))
        assert world.announces is announced, counts
    world = World()
    world.speaker.pods.remember(memory)
    world.has(pod("b"))
    world.grants()
    assert world.announces


def test_nothing_is_kept_of_what_is_gone(served: World) -> None:
    served.lacks()
    served.speaker.set_vip(ADDRESS, None)
    pods = served.speaker.pods
    assert not (pods.ended or pods._granted or pods._of or pods._watched or pods._until or pods._pods)
