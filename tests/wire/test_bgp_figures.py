"""What the speaker's BGP half costs: printed with pytest -s, with limits that only a fault exceeds."""

import statistics
import sys
import time

from bench.bounce import bounce
from tests.wire.bgp_lab import Attributes, Key, Lab, resident
from tests.wire.doing import wait_for


def test_figures_of_one_session(lab: Lab) -> None:
    router = lab.router(1)
    router.start()
    lab.speaker.start()
    agent = lab.speaker.agent()
    agent.neighbors(router.neighbor())
    agent.established(router.v4)
    said, gone = [], []
    for n in range(60):
        key: Key = (router.v4, f"192.0.2.{n}/32")
        for value, times in (({"med": 1}, said), (None, gone)):
            began = time.perf_counter()
            agent.want({key: value})
            agent.until(
                lambda k=key, v=value: agent.routes.get(k) == ("confirmed" if v else "withdrawn"), "it"
            )
            times.append((time.perf_counter() - began) * 1000)
    few = resident(lab.speaker.pid), resident(lab.speaker.exabgp())
    many: dict[Key, Attributes] = {
        (router.v4, f"198.18.{n // 250}.{n % 250}/32"): {"med": 7} for n in range(1000)
    }
    began = time.perf_counter()
    agent.want(many)
    wait_for(
        lambda: router.session()["addressFamilyInfo"]["ipv4Unicast"]["acceptedPrefixCounter"] == 1000, "1000"
    )
    took = time.perf_counter() - began
    agent.settled(many)
    lots = resident(lab.speaker.pid), resident(lab.speaker.exabgp())
    for name, times in (("announce", said), ("withdraw", gone)):
        p50, p95 = statistics.median(times), sorted(times)[56]
        sys.stdout.write(f"\n{name}: want to sent and reported, p50 {p50:.1f} ms, p95 {p95:.1f} ms")
    sys.stdout.write(f"\n1,000 routes in FRR after {took:.2f} s\nmemory in MiB (parent, ExaBGP): ")
    sys.stdout.write(f"{few[0]:.1f}, {few[1]:.1f}; with 1,000 routes {lots[0]:.1f}, {lots[1]:.1f}\n")
    assert statistics.median(said) < 100
    assert lots[0] < 32


def test_routes_are_back_soon_after_a_session_bounce(lab: Lab) -> None:
    routers = [lab.router(number) for number in (1, 2)]
    for router in routers:
        router.start()
    lab.speaker.start()
    agent = lab.speaker.agent()
    agent.neighbors(*(router.neighbor() for router in routers))
    agent.established(*(router.v4 for router in routers))
    lines = {line.what: line for line in bounce(lab, agent, routers, 2000)}
    assert lines["2,000 routes to 2 peers after a bounce"].value < 5 * 3.0
