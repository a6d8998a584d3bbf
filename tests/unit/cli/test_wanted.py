"""A report's numbers get names where what shall be announced agrees with them, and stay numbers elsewhere."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from metalbgp.cli import wanted as module
from metalbgp.cli.changes import Change
from metalbgp.cli.node_changes import changes
from metalbgp.cli.wanted import Wanted
from metalbgp.config import virtualip
from metalbgp.model.configuration import BGPAdvertisement
from metalbgp.model.report import NodeReport, OrderReport, RouteReport, SessionReport, UnservedReport
from metalbgp.model.services import Node
from metalbgp.model.virtualips import VirtualIP
from tests.unit.cli.world import CONFIGURATION, before, claim, down, session

UPDATED = before(seconds=1)
A, B, C = (f"10.252.252.{last}" for last in (100, 101, 102))
SERVICES = {A: "web/a", B: "web/b", C: "web/c"}


def vip(address: str, **fields: Any) -> VirtualIP:
    return virtualip.decode(json.dumps(claim(address, SERVICES[address], **fields)).encode())


def report(confirmed: int, *, open_: int = 0, **fields: Any) -> NodeReport:
    one = session("tor-a", routes_confirmed=confirmed, routes_wanted=confirmed + open_)
    return of_sessions(one, **fields)


def of_sessions(*sessions: SessionReport, **fields: Any) -> NodeReport:
    about = {"node": "n1", "ready": True, "updated": UPDATED, "configuration": 3, "sessions": sessions}
    return NodeReport(**{**about, **fields})


class Seen:
    """What one person sees: claims come and go, and the node reports."""

    def __init__(self, *addresses: str, nodes: int = 1) -> None:
        self.wanted = Wanted()
        self.wanted.configure(CONFIGURATION)
        for number in range(nodes):
            self.wanted.set_node(f"n{number + 1}", Node(name=f"n{number + 1}"))
        for address in addresses:
            self.wanted.set_vip(address, vip(address))
        self.wanted.begin()

    def told(self, old: NodeReport, new: NodeReport) -> list[Change]:
        return list(self.wanted.named(changes(old, new), old, new))

    def words(self, old: NodeReport, new: NodeReport) -> list[str]:
        return [f"{one.what.removeprefix('route-')} {one.prefix or one.count}" for one in self.told(old, new)]


def test_a_route_that_came_unseen_has_its_name_and_its_service() -> None:
    seen = Seen(A)
    seen.wanted.set_vip(B, vip(B))
    (one,) = seen.told(report(1), report(2))
    assert one == Change(
        time=UPDATED,
        what="route-announced",
        message=f"route {B}/32 (web/b) announced",
        node="n1",
        peer="tor-a",
        prefix=f"{B}/32",
        services=("web/b",),
    )


def test_a_route_that_went_unseen_has_its_name_and_the_service_that_it_had() -> None:
    seen = Seen(A, B)
    seen.wanted.set_vip(B, None)
    (one,) = seen.told(report(2), report(1))
    assert (one.what, one.message) == ("route-withdrawn", f"route {B}/32 (web/b) withdrawn")


def test_what_came_and_what_went_are_both_named_where_the_number_is_their_difference() -> None:
    seen = Seen(A)
    for address, one in ((B, vip(B)), (C, vip(C)), (A, None)):
        seen.wanted.set_vip(address, one)
    assert seen.words(report(1), report(2)) == [f"announced {B}/32", f"announced {C}/32", f"withdrawn {A}/32"]


def test_a_number_that_does_not_agree_stays_a_number_and_the_next_one_is_named_again() -> None:
    seen = Seen(A)
    seen.wanted.set_vip(B, vip(B))
    assert seen.words(report(1), report(3)) == ["announced 2"]
    seen.wanted.set_vip(C, vip(C))
    assert seen.words(report(3), report(4)) == [f"announced {C}/32"]


def test_what_a_report_does_not_have_yet_is_named_with_the_next_one() -> None:
    seen = Seen(A)
    seen.wanted.set_vip(B, vip(B))
    assert seen.words(report(1), report(1, updated=before(seconds=0))) == []
    assert seen.words(report(1), report(2)) == [f"announced {B}/32"]


def test_what_a_report_names_itself_is_told_once() -> None:
    seen = Seen(A)
    seen.wanted.set_vip(B, vip(B))
    row = RouteReport(prefix=f"{B}/32", peer="tor-a", state="sent")
    sent = report(1, open_=1, unconfirmed=(row,))
    assert seen.words(report(1), sent) == [f"sent {B}/32"]
    assert seen.words(sent, report(2)) == [f"announced {B}/32"]


def test_what_came_and_went_between_two_reports_is_nothing() -> None:
    seen = Seen(A)
    seen.wanted.set_vip(B, vip(B))
    seen.wanted.set_vip(B, None)
    assert seen.words(report(1), report(2)) == ["announced 1"], "so it was another one"


def test_attributes_that_change_are_told_when_the_node_has_them_and_only_once() -> None:
    seen = Seen(A)
    both = BGPAdvertisement(name="external", pools=("production",), communities=((64513, 7), (64513, 9)))
    seen.wanted.configure(replace(CONFIGURATION, sequence=4, bgp_advertisements=(both,)))
    assert seen.told(report(1), report(1, updated=before(seconds=0))) == []
    configuration, one = seen.told(report(1), report(1, configuration=4))
    assert configuration.what == "configuration"
    assert (one.what, one.prefix, one.count) == ("route-changed", f"{A}/32", 0)
    assert one.message == f"route {A}/32 (web/a) changed: 64513:7 → 64513:7 64513:9"
    assert seen.told(report(1, configuration=4), report(1, configuration=4, updated=before())) == []


def test_many_that_change_are_a_number() -> None:
    seen = Seen(A, B, C)
    other = BGPAdvertisement(name="external", pools=("production",))
    seen.wanted.configure(replace(CONFIGURATION, sequence=4, bgp_advertisements=(other,)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MANY", 2)
        (_, one) = seen.told(report(3), report(3, configuration=4))
    assert one.message == "3 routes changed (3 of 3 routes confirmed)"


def test_a_session_that_comes_up_has_told_all_of_its_routes() -> None:
    seen = Seen(A)
    seen.wanted.set_vip(B, vip(B))
    old, new = of_sessions(replace(down(routes_wanted=2), peer="tor-a")), report(2)
    assert [one.what for one in seen.told(old, new)] == ["session-established"]
    assert seen.words(report(2), report(3)) == ["announced 1"], "B is told, so it was another one"


def test_another_installations_claim_and_an_unknown_node_name_nothing() -> None:
    seen = Seen(A)
    seen.wanted.set_vip(B, replace(vip(B), installation="elsewhere"))
    assert seen.words(report(1), report(2)) == ["announced 1"]
    seen.wanted.set_node("n1", None)
    seen.wanted.set_vip(C, vip(C))
    assert seen.words(report(1), report(2)) == ["announced 1"]


def test_a_cluster_too_large_for_names_is_counted() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST", 3)
        seen = Seen(A, nodes=2)
        seen.wanted.set_vip(B, vip(B))
        assert seen.words(report(1), report(2)) == ["announced 1"]
        seen.wanted.set_vip(B, None)
        seen.wanted.set_vip(C, vip(C))
        assert seen.words(report(1), report(2)) == ["announced 1"], "what was missed is not known: for good"


HOLD = OrderReport(name=f"hold-{B}", action="Hold", target=B, author="eve", reason="fibre work")


def test_a_route_that_goes_by_an_order_and_one_that_comes_when_it_ends_have_their_names() -> None:
    seen = Seen(A, B)
    held = report(1, orders=(HOLD,))
    assert [one.message for one in seen.told(report(2), held) if one.prefix] == [
        f"route {B}/32 (web/b) withdrawn: held by eve: fibre work"
    ]
    assert seen.words(held, report(2))[1:] == [f"announced {B}/32"]


def test_an_order_that_stood_before_the_first_line_is_not_taken_for_a_change() -> None:
    seen = Seen(A, B)
    held = report(1, orders=(HOLD,))
    seen.wanted.begin([held])
    seen.wanted.set_vip(C, vip(C))
    assert seen.words(held, report(2, orders=(HOLD,))) == [f"announced {C}/32"]


def test_a_route_that_goes_because_the_last_pod_here_ended_has_its_name() -> None:
    seen = Seen(A, B)
    ended = report(1, unserved=(UnservedReport(B, "web/b"),))
    assert seen.words(report(2), ended) == [f"withdrawn {B}/32"]
