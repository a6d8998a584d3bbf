"""What happens to the speaker's own processes: paused, killed, over their budget, fed what they refuse.

Real FRR and a real parent; the test plays the agent. After each fault both routers hold what is wanted for
both families. One kill of each process alone is in test_bgp_sessions.py and test_bgp_routes.py; the whole
container and the real agent are in tests/lab/test_product_faults.py.
"""

import os
import signal
import sys

import pytest

from tests.wire.bgp_lab import ROOT, Attributes, Key, Lab, children, cmdline
from tests.wire.bgp_stand import Stand, prefix
from tests.wire.doing import wait_for


def many(it: Stand, count: int) -> dict[Key, Attributes]:
    """So many more routes for every session, all different."""
    return {
        (peer, f"2001:db8:1::{n:x}/128" if ":" in peer else f"198.18.{n // 250}.{n % 250}/32"): {"med": n}
        for peer in it.peers()
        for n in range(1, count + 1)
    }


def test_exabgp_paused_for_less_than_the_hold_time_costs_no_session_and_no_change(lab: Lab) -> None:
    it = Stand(lab, hold_time=9)
    it.start(zebra=True)
    it.as_wanted()
    child = lab.speaker.exabgp()
    with it.never_lost():
        os.kill(child, signal.SIGSTOP)
        try:
            for _ in range(5):
                it.change()
            wait_for(lambda: len(lab.speaker.ask()["sessions"]) == 4, "the parent answers meanwhile")
        finally:
            os.kill(child, signal.SIGCONT)
        it.as_wanted()
    assert it.drops(1) == it.drops(2) == (0, 0) and lab.speaker.exabgp() == child


@pytest.mark.parametrize("graceful", [0, 60])
def test_exabgp_paused_for_longer_than_the_hold_time_comes_back_with_what_is_wanted_then(
    lab: Lab, graceful: int
) -> None:
    """With graceful restart too the routes go: a hold time that ends is no restart (RFC 4724)."""
    it = Stand(lab, hold_time=3, graceful_restart=graceful)
    it.start()
    it.as_wanted()
    child = lab.speaker.exabgp()
    os.kill(child, signal.SIGSTOP)
    try:
        it.change()
        for router in it.routers:
            wait_for(lambda r=router: not r.up(4) and not r.up(6), "its hold time is over")
            wait_for(lambda r=router: r.table() == {} == r.table(6), "it gives up the routes")
        it.change()
    finally:
        os.kill(child, signal.SIGCONT)
    it.as_wanted()
    assert lab.speaker.exabgp() == child


def test_a_helper_that_stops_while_commands_pile_up_loses_none_of_them(lab: Lab) -> None:
    """The pipe is full both ways: our commands, and the events that ExaBGP wants to get rid of."""
    it = Stand(lab, hold_time=9)
    it.start()
    it.as_wanted()
    helper = lab.speaker.helper()
    os.kill(helper, signal.SIGSTOP)
    try:
        more = many(it, 1500)
        it.agent.want(more)
        it.wants |= more
        it.change()
        wait_for(lambda: len(lab.speaker.ask()["routes"]) >= len(more), "the parent has taken them all")
    finally:
        os.kill(helper, signal.SIGCONT)
    it.as_wanted(60)
    assert it.drops(1) == it.drops(2) == (0, 0) and lab.speaker.helper() == helper


def test_a_helper_that_never_goes_on_is_replaced_and_graceful_routes_stay(lab: Lab) -> None:
    """No answer comes: the child is restarted after 20 s, as long as its routers have patience."""
    it = Stand(lab, hold_time=90, graceful_restart=60)
    it.start(zebra=True)
    it.as_wanted()
    helper, child = lab.speaker.helper(), lab.speaker.exabgp()
    with it.never_lost():
        os.kill(helper, signal.SIGSTOP)
        it.change()
        wait_for(lambda: lab.speaker.exabgp() not in (0, child), "another child", 60)
        it.as_wanted()
    assert b"helper.py" not in cmdline(helper), "the old helper is still there"


def test_a_helper_killed_again_and_again_in_a_burst_costs_no_route(lab: Lab) -> None:
    """The sixth within a minute makes ExaBGP give up and end: graceful restart covers that."""
    it = Stand(lab, graceful_restart=60)
    it.start(zebra=True)
    it.as_wanted()
    first = lab.speaker.exabgp()
    with it.never_lost():
        killed: set[int] = set()
        while lab.speaker.exabgp() == first:
            it.change()
            found = lab.speaker.helper()
            if found and found not in killed:
                killed.add(found)
                os.kill(found, signal.SIGKILL)
            it.agent.listen(0.02)
            assert len(killed) < 20
        it.change()
        it.as_wanted()
    assert len(killed) == 6


def test_a_parent_that_is_killed_leaves_graceful_routes_and_the_next_one_mends_what_changed(lab: Lab) -> None:
    """It is pid 1 of its container: everything dies with it."""
    it = Stand(lab, graceful_restart=60)
    it.start(zebra=True)
    it.as_wanted()
    with it.never_lost():
        lab.speaker.kill()
        it.agent.close()
        gone = [key for key in it.wants if key not in it.steady()]
        it.wants |= dict.fromkeys(gone)
        lab.speaker.start()
        it.connect()
        it.as_wanted()
    assert it.agent.journal["routes"] == []  # it began with nothing, and nothing was withdrawn on that


HOG = """import mmap, threading
held = mmap.mmap(-1, 140 << 20)
for at in range(0, 140 << 20, 4096):
    held[at] = 1
threading.Event().wait(900)
"""
SWELL = """import mmap, os, sys, threading

held = []


def swell():
    here = os.path.join(os.path.dirname(__file__), "swell")
    while not os.path.exists(here):
        threading.Event().wait(0.2)
    os.unlink(here)
    pages = os.memfd_create("swell")
    os.truncate(pages, 16 << 20)
    for _ in range(34):
        held.append(mmap.mmap(pages, 16 << 20))
        for at in range(0, 16 << 20, 4096):
            held[-1][at] = 1


if "launch.py" in " ".join(sys.orig_argv) and "server" in sys.orig_argv:
    threading.Thread(target=swell, daemon=True).start()
"""


def test_a_child_over_its_memory_budget_is_restarted_alone_and_routes_stay(lab: Lab) -> None:
    """ExaBGP maps the same 16 MiB 34 times: it holds 544 MiB and the machine does not notice."""
    (lab.folder / "sitecustomize.py").write_text(SWELL)
    (lab.folder / "hog.py").write_text(HOG)
    it = Stand(lab, graceful_restart=60)
    it.start(
        zebra=True,
        PYTHONPATH=f"{lab.folder}:{ROOT}",
        METALBGP_AGENT="/bin/sleep 1000",
        METALBGP_REFLEX=f"{sys.executable} {lab.folder / 'hog.py'}",
    )
    it.as_wanted()
    first, agent = lab.speaker.exabgp(), child(lab, b"1000")
    hog = wait_for(lambda: child(lab, b"hog.py"), "the reflex")
    with it.never_lost():
        (lab.folder / "swell").touch()
        wait_for(lambda: child(lab, b"hog.py") not in (0, hog), "another reflex", 60)
        wait_for(lambda: lab.speaker.exabgp() not in (0, first), "another ExaBGP", 60)
        it.change()
        it.as_wanted()
    assert child(lab, b"1000") == agent
    said = lab.speaker.log()
    assert '"child-over-budget"' in said and "its budget is 536870912" in said


def child(lab: Lab, word: bytes) -> int:
    return next((pid for pid in children(lab.speaker.pid) if word in cmdline(pid)), 0)


CHECKED = (
    90.0  # seconds: each check is a Python that starts, and a list that is refused has one for each peer
)
REFUSES = """import pathlib, runpy, sys
if "validate" in sys.argv:
    file = pathlib.Path(sys.argv[-1])
    text = file.read_text()
    if "hold-time 77;" in text:
        file.write_text(text.replace("hold-time 77;", "hold-time 1;"))
sys.argv[0] = {launch!r}
runpy.run_path({launch!r}, run_name="__main__")
"""


def test_a_peer_that_exabgp_refuses_is_named_and_all_others_of_its_list_take_effect(lab: Lab) -> None:
    """We check every value ourselves, so nothing that it refuses is known: what is asked for as a hold time
    of 77 s stands in the file that it checks as 1 s. It never reaches the running child."""
    conf = ROOT / "exabgp-conf"
    (lab.folder / "conf").mkdir()
    (lab.folder / "conf" / "launch.py").write_text(REFUSES.format(launch=str(conf / "launch.py")))
    (lab.folder / "conf" / "helper.py").write_text((conf / "helper.py").read_text())
    it = Stand(lab)
    for router in it.routers:
        router.start()
    lab.speaker.start(METALBGP_EXABGP_CONF=str(lab.folder / "conf"))
    it.agent = lab.speaker.agent()
    alien = {**it.routers[0].neighbor(), "address": "10.90.9.9", "name": "alien", "hold_time": 77}
    it.agent.neighbors(alien, *it.neighbors())  # a node's first list
    it.wants = {(peer, prefix(peer, 1)): {} for peer in it.peers()}
    it.agent.want(it.wants)
    it.as_wanted(CHECKED)
    first = lab.speaker.exabgp()
    refused(it, "10.90.9.9", "Idle", "hold-time 1: holdtime must be zero or at least 3 seconds")

    third = lab.router(3)
    third.start()
    one, *others = it.neighbors()
    changed = {**one, "hold_time": 77}
    it.agent.neighbors(changed, *others, third.neighbor())  # one that runs changes into one that is refused
    it.agent.established(third.v4, limit=CHECKED)
    refused(it, one["address"], "Established", "its last good version runs on")
    it.change()
    it.agent.settled(it.wants)
    lab.equal(it.wants)
    assert it.agent.sessions["10.90.9.9"]["state"] == "Removed"

    it.agent.neighbors(*it.neighbors(), third.neighbor())
    it.agent.until(
        lambda: not it.agent.sessions[one["address"]]["reason"], "nothing is refused any more", CHECKED
    )
    it.as_wanted()
    assert it.drops(1) == it.drops(2) == (0, 0)
    assert lab.speaker.exabgp() == first
    assert not [problem for problem in it.agent.problems if problem["kind"] == "reload"]
    assert "hold-time 1;" not in (lab.speaker.run / "exabgp.conf").read_text()


def refused(it: Stand, peer: str, state: str, words: str) -> None:
    def said() -> bool:
        row = it.agent.sessions[peer]
        return (row["state"], row["reason"]) == (state, "RefusedByExaBGP") and words in row["last_error"]

    it.agent.until(said, f"{peer} is refused: {words}", CHECKED)


def test_a_list_of_peers_that_cannot_be_written_is_said_costs_nothing_and_is_taken_when_it_can(
    lab: Lab,
) -> None:
    """A directory stands in the file's place; a disk that is full is on the lab."""
    it = Stand(lab)
    it.start(zebra=True)
    it.as_wanted()
    first, place = lab.speaker.exabgp(), lab.speaker.run / "exabgp.next"
    third = lab.router(3)
    third.start()
    place.mkdir()
    with it.never_lost():
        it.agent.neighbors(*it.neighbors(), third.neighbor())
        it.agent.until(
            lambda: any(
                p["kind"] == "reload" and "cannot be written" in p["text"] for p in it.agent.problems
            ),
            "it is said",
        )
        it.change()
        it.as_wanted()
        place.rmdir()
        it.agent.established(third.v4, limit=CHECKED)
        it.as_wanted()
    assert it.drops(1) == it.drops(2) == (0, 0) and lab.speaker.exabgp() == first
