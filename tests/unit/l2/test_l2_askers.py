"""A flood of one station, or of stations that do not exist, takes no answers from the others for long."""

from metalbgp.l2 import askers
from metalbgp.l2.askers import Askers

MAC = b"\2aaaaa"


def answered(limit: Askers, questions: int, now: float, owned: int = 1, mac: bytes = MAC) -> int:
    return sum(limit.one_more(mac, now, owned) for _ in range(questions))


def test_one_asker_gets_a_burst_and_then_its_rate() -> None:
    limit = Askers()
    assert answered(limit, 5000, 10.0) == askers.BURST
    assert answered(limit, 5000, 11.0) == askers.RATE
    assert answered(limit, 5000, 1000.0) == askers.BURST


def test_a_router_may_ask_twice_for_everything_that_is_ours() -> None:
    assert answered(Askers(), 50_000, 10.0, owned=10_000) == 20_000


def test_one_askers_flood_costs_another_nothing() -> None:
    limit = Askers()
    answered(limit, 5000, 10.0)
    assert answered(limit, 10, 10.0, mac=b"\2bbbbb") == 10


def test_ten_questions_a_second_are_answered_for_ever() -> None:
    limit = Askers()
    assert all(limit.one_more(MAC, number / 10, 1) for number in range(10_000))


def test_forged_askers_fill_no_memory_and_meet_the_limit_for_all() -> None:
    limit = Askers()
    passed = 0
    for number in range(20_000):
        fresh = limit.one_more(b"\2\0" + number.to_bytes(4, "big"), 10.0, 1)
        passed += fresh and limit.one_more_of_all(10.0, 1)
    assert len(limit) == askers.KEPT
    assert passed == askers.BURST_OF_ALL
    assert sum(limit.one_more_of_all(11.0, 1) for _ in range(20_000)) == askers.RATE_OF_ALL


def test_whoever_asked_longest_ago_is_forgotten_first() -> None:
    limit = Askers()
    answered(limit, 5000, 10.0)
    for number in range(askers.KEPT - 1):
        limit.one_more(b"\2\0" + number.to_bytes(4, "big"), 10.0, 1)
    assert not limit.one_more(MAC, 10.0, 1)
    limit.one_more(b"\2\1zzzz", 10.0, 1)
    assert limit.one_more(MAC, 10.0, 1)
