"""The wall clock of a node jumps, and nothing happens. Real FRR; the speaker's whole container is fooled.

The machine's own clock is not touched: every Python process of the speaker gets a time.time() of ours, which
adds what a file says. Hold timers of the routers are the judges: they are right.
"""

from operator import gt
from pathlib import Path

from tests.wire.bgp_lab import ROOT, Lab, Router
from tests.wire.bgp_stand import Stand
from tests.wire.doing import wait_for

DAY = 86400
FOOL = """import os
import time

_real = time.time


def _time():
    try:
        with open(os.path.join(os.path.dirname(__file__), "offset"), encoding="ascii") as file:
            return _real() + float(file.read())
    except (OSError, ValueError):
        return _real()


time.time = _time
"""


def jump(folder: Path, seconds: float) -> None:
    following = folder / "offset.next"
    following.write_text(str(seconds))
    following.replace(folder / "offset")


def keepalives(router: Router) -> list[int]:
    return [int(router.session(family)["messageStats"]["keepalivesRecv"]) for family in (4, 6)]


def hears_more(it: Stand, count: int) -> None:
    """Every router has had so many more keepalives of either family: more than its hold time has passed."""
    for router in it.routers:
        was = [number + count for number in keepalives(router)]
        wait_for(lambda r=router, w=was: all(map(gt, keepalives(r), w)), "keepalives", 30)


def test_a_clock_that_jumps_a_day_forwards_or_backwards_ends_no_session_and_stops_nothing(lab: Lab) -> None:
    (lab.folder / "sitecustomize.py").write_text(FOOL)
    it = Stand(lab, hold_time=3)
    it.start(PYTHONPATH=f"{lab.folder}:{ROOT}")
    it.as_wanted()
    before = it.agent.sessions[it.peers()[0]]["since"]
    for offset in (DAY, -DAY):
        jump(lab.folder, offset)
        hears_more(it, 4)  # one a second, and the hold time is 3 s
        it.change()
        it.as_wanted()
        assert it.drops(1) == it.drops(2) == (0, 0)
    # A session that ends now is dialled again at once, and not when the clock has caught up.
    it.routers[0].vtysh("clear bgp *")
    it.agent.until(lambda: it.agent.sessions[it.peers()[0]]["flaps"] == 1, "its end")
    it.as_wanted()
    since = it.agent.sessions[it.peers()[0]]["since"]
    assert since < before - DAY / 2, "the speaker was not fooled"
