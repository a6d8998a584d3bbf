"""What became of the wishes, from the parent's messages."""

from types import SimpleNamespace
from typing import Any

import msgspec

from metalbgp.model.configuration import BGPAdvertisement, Configuration, Peer
from metalbgp.model.routes import Attributes
from metalbgp.model.virtualips import Holder, VirtualIP
from metalbgp.speaker.announcer import Announcer
from metalbgp.speaker.record import PROBLEM_AGE, PROBLEMS, SHOWN, Record
from tests.values import node, pool

TOR = "10.0.0.1"
PLAIN = Attributes()


def announcer() -> Announcer:
    made = Announcer()
    made.set_node(node("n1"))
    made.set_configuration(
        Configuration(
            installation="x",
            sequence=1,
            pools=(pool("p", "198.51.100.0-198.51.100.255"),),
            peers=(Peer(name="tor", my_asn=64513, peer_asn=64512, address=TOR),),
            bgp_advertisements=(BGPAdvertisement(name="all", pools=("p",)),),
        )
    )
    return made


def journal(*routes: list[Any], pid: int = 7, sessions: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    return {"exabgp": {"pid": pid}, "sessions": sessions, "routes": list(routes)}


def report(record: Record, now: float = 0.0, made: Announcer | None = None) -> Any:
    l2: Any = SimpleNamespace(state=None, owned={}, counters={})
    return record.report(made or announcer(), l2, now, pod="p", version="1", updated="", ready=True)


def test_the_journal_replaces_all_that_was_known() -> None:
    record = Record("n1")
    record.want(TOR, "198.51.100.1/32", PLAIN)
    record.journal(journal([TOR, "198.51.100.2/32", {"next_hop": ""}, None, None, "sent", 1.0]))
    assert record.told() == {(TOR, "198.51.100.2/32"): PLAIN}
    assert record.child_runs
    record.child({"pid": 0})
    assert not record.child_runs


def test_what_the_parent_says_back_is_what_it_was_told() -> None:
    wanted = Attributes(communities=((64513, 7),), large_communities=((1, 2, 3),), local_preference=100)
    record = Record("n1")
    record.journal(journal([TOR, "198.51.100.1/32", msgspec.to_builtins(wanted), None, None, "sent", 1.0]))
    assert record.told() == {(TOR, "198.51.100.1/32"): wanted}


def test_a_route_goes_from_wanted_to_confirmed_to_forgotten() -> None:
    record = Record("n1")
    record.journal(journal())
    record.want(TOR, "198.51.100.1/32", PLAIN)
    assert (report(record).routes_wanted, report(record).routes_confirmed) == (1, 0)
    assert [one.state for one in report(record).unconfirmed] == ["wanted"]
    record.route(TOR, "198.51.100.1/32", "confirmed", 2.0)
    assert (report(record).routes_wanted, report(record).routes_confirmed) == (1, 1)
    assert report(record).unconfirmed == ()
    record.want(TOR, "198.51.100.1/32", None)
    assert record.told() == {}
    record.route(TOR, "198.51.100.1/32", "withdrawn", 3.0)
    assert not record.routes and report(record).routes_wanted == 0


def test_to_take_back_what_nobody_knows_leaves_no_trace() -> None:
    record = Record("n1")
    record.journal(journal())
    record.want(TOR, "198.51.100.9/32", None)
    assert not record.routes and report(record).unconfirmed == ()


def test_a_report_shows_a_bounded_number_of_routes_that_wait() -> None:
    record = Record("n1")
    record.journal(journal())
    for number in range(SHOWN + 20):
        record.want(TOR, f"198.51.100.{number}/32", PLAIN)
    assert len(report(record).unconfirmed) == SHOWN
    assert report(record).routes_wanted == SHOWN + 20


def test_a_route_that_waits_names_the_services_behind_it() -> None:
    made = announcer()
    holder = Holder(uid="u", bgp=("all",), serving=True)
    vip = VirtualIP(address="198.51.100.1", pool="p", configuration=1, holders={"web/nginx": holder})
    made.set_vip(vip.address, vip)
    record = Record("n1")
    record.journal(journal())
    record.want(TOR, "198.51.100.1/32", PLAIN)
    (one,) = report(record, made=made).unconfirmed
    assert (one.peer, one.services) == ("tor", ("web/nginx",))


def test_a_session_that_is_gone_is_not_reported() -> None:
    record = Record("n1")
    record.journal(journal())
    record.session({"peer": "10.9.9.9", "state": "Established", "since": 1.0})
    record.session({"peer": TOR, "state": "Established", "since": 1.0, "families": ["ipv4"], "tries": 2})
    record.session({"peer": "10.9.9.9", "state": "Removed"})
    (one,) = report(record).sessions
    assert (one.peer, one.state, one.since, one.tries) == ("tor", "Established", "1970-01-01T00:00:01Z", 2)
    assert list(record.sessions) == [TOR]


def test_a_problem_is_shown_once_for_a_while_and_never_too_many() -> None:
    record = Record("n1")
    record.journal(journal())
    for number in range(PROBLEMS + 5):
        record.problem({"text": f"problem {number}"}, float(number))
    assert len(report(record, 20.0).problems) == PROBLEMS
    record.problem({"text": "problem 14"}, 300.0)
    assert report(record, 300.0).problems.count("problem 14") == 1
    assert report(record, 300.0 + PROBLEM_AGE).problems == ("problem 14",)
    assert report(record, 301.0 + PROBLEM_AGE).problems == ()
