"""A speaker's own Pods only ever take away, on evidence, and never because one watch is behind the other.

Truth: Pods of this node begin and end to serve. The view of them and the controller hear of it in order, each
late by its own time, the view by less than LAG; the controller may be gone from some moment on.
"""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from metalbgp.model.services import Pod
from metalbgp.select.select import NodeView
from metalbgp.speaker.own_pods import LAG, OwnPods
from tests.values import bgp, configuration, holder, l2, node, peer, vip

ADDRESS, SERVICE, APP = "10.252.252.100", "web/nginx", {"app": "nginx"}
GRANT = (ADDRESS, SERVICE)
HERE = node("n1")
MADE = configuration(peer("tor"), bgp(), l2())


def pod(name: str, *, ready: bool = True, **labels: str) -> Pod:
    return Pod("web", name, labels=labels or APP, address="10.244.1.9", phase="Running", ready=ready)


def granted(count: int, **fields: object) -> object:
    one = holder(
        policy="Local",
        selector=APP,
        bgp=("external",),
        l2=("layer2",),
        serving=True,
        nodes={"n1": count} if count else {},
        **fields,
    )
    return vip(ADDRESS, {SERVICE: one}, candidates=("n1",))


Truth = list[tuple[float, frozenset[str]]]  # who serves since when
MOMENTS = st.lists(
    st.tuples(st.sampled_from([0.001, 0.01, 0.3, 1.0, 2.5, 9.0]), st.sampled_from("abc")),
    min_size=1,
    max_size=14,
)


@given(
    moments=MOMENTS,
    view_late=st.sampled_from([0.0, 0.02, 0.4, 1.9]),
    controller_late=st.sampled_from([0.0, 0.005, 0.1, 0.5, 3.0]),
    controller_until=st.sampled_from([0.0, 2.0, 10.0, 1e9]),
)
def test_a_node_never_says_no_while_a_pod_of_its_serves_and_always_when_none_does(
    moments: list[tuple[float, str]], view_late: float, controller_late: float, controller_until: float
) -> None:
    truth: Truth = [(0.0, frozenset("a"))]
    for pause, name in moments:
        at, serving = truth[-1]
        truth.append((at + pause, serving ^ {name}))
    steps: list[tuple[float, float, str, bool | int]] = []  # when heard, when true, Pod or "", what
    for (_, before), (at, after) in pairwise([(0.0, frozenset[str]()), *truth]):
        steps += [(at + view_late, at, name, name in after) for name in before ^ after]
        if at <= controller_until:
            steps.append((at + controller_late, at, "", len(after)))
    heard = [when for when, *_ in steps]
    looks = sorted({*heard, *(when + LAG for when in heard), max(heard) + 2 * LAG})
    queue, pods, count, risen = sorted(steps, key=lambda step: step[0]), OwnPods(), 0, 0.0
    for now in looks:
        said_no = GRANT in pods.ended
        while queue and queue[0][0] <= now:
            _, at, name, what = queue.pop(0)
            if name:
                pods.set_pod(name, pod(name) if what else None, now)
            else:
                risen, count = at if what > count else risen, int(what)
                pods.see(granted(count), "n1", now)  # type: ignore[arg-type]  # a VirtualIP
        pods.due(now)
        if GRANT in pods.ended:
            assert count, "nothing is denied that was not granted"
            # Who begins to say no knows of a moment when nothing here served: not long ago, and later than
            # the moment of which the controller knows that something did.
            since = max(now - view_late, risen)
            assert said_no or any(not alive for alive in alive_between(truth, since, now)), (now, truth)
    said_no = GRANT in pods.ended
    if not truth[-1][1]:
        never = count and not any(one.seen for one in pods._granted.values())
        assert said_no or not count or never, "nothing serves, the grant stands, and nobody says so"
    else:
        assert not said_no


def alive_between(
    truth: list[tuple[float, frozenset[str]]], first: float, last: float
) -> list[frozenset[str]]:
    """All that served in some moment from the first to the last."""
    ends = [at for at, _ in truth[1:]] + [float("inf")]
    return [alive for (at, alive), end in zip(truth, ends, strict=True) if at <= last and end > first]


PODS = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from(["none", "ready", "unready", "other"]),
        st.sampled_from([0.0, 1.0, 5.0]),
        st.one_of(st.none(), st.tuples(st.integers(0, 2), st.integers(0, 2), st.booleans(), st.booleans())),
    ),
    max_size=12,
)


@given(steps=PODS)
def test_with_its_pods_in_view_a_node_never_announces_more_than_without(
    steps: list[tuple[str, str, float, tuple[int, int, bool, bool] | None]],
) -> None:
    pods, now, one = OwnPods(), 0.0, granted(1)
    with_view, without = NodeView(MADE, HERE, ended=pods.ended), NodeView(MADE, HERE)
    for name, what, pause, grant in steps:
        now += pause
        pods.due(now)
        if what == "none":
            pods.set_pod(name, None, now)
        else:
            made = pod(name, app="shop") if what == "other" else pod(name, ready=what == "ready")
            pods.set_pod(name, made, now)
        if grant is not None:
            ready, terminating, not_ready, last = grant
            rest = {"n1": terminating} if terminating and not ready else {}
            one = granted(ready, terminating=rest, publish_not_ready=not_ready, last_resort=last)
        pods.see(one, "n1", now)  # type: ignore[arg-type]  # a VirtualIP
        more, most = with_view.select(one), without.select(one)  # type: ignore[arg-type]  # the same
        assert set(more.routes) <= set(most.routes)
        assert set(more.duties) <= set(most.duties)
        if not pods.ended:
            assert more == most
