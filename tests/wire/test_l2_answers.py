"""The reflex on real veths: who gets an answer, who does not, and what survives the agent.

One file because all of it watches one segment, made once.
"""

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from l2_segment import (
    BROADCAST,
    IDENTITY,
    NEIGHBOUR,
    NODE,
    NODE_MAC,
    PEER_MAC,
    ROOT,
    Reflex,
    Station,
    arp,
    inside,
    ip_bytes,
    is_advertisement,
    is_arp_reply,
    is_gratuitous,
    link,
    mac_bytes,
    segment,
    socket_in,
    solicitation,
)

from metalbgp.clocks import SO_TIMESTAMPNS, age
from tests.wire.doing import figures, run, wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs network namespaces")

OWNED, OTHER, UNOWNED = "192.0.2.100", "192.0.2.101", "192.0.2.200"
OWNED6, UNOWNED6 = "2001:db8::100", "2001:db8::200"


@pytest.fixture(scope="module")
def lab() -> Iterator[None]:
    with segment():
        yield


@pytest.fixture
def reflex(lab: None, tmp_path: Path) -> Iterator[Reflex]:
    process = Reflex(tmp_path)
    yield process
    process.stop()


@pytest.fixture
def stations(lab: None) -> Iterator[dict[str, Station]]:
    opened = {name: Station(name) for name in PEER_MAC}
    yield opened
    for station in opened.values():
        station.close()


@pytest.fixture
def near(stations: dict[str, Station]) -> Station:
    return stations["p0"]


def ready_for_ndp(reflex: Reflex) -> None:
    """Its link-local address is there (duplicate address detection takes seconds), so eth0 answers NDP."""
    reflex.wait_for(lambda: "eth0" in reflex.state()["counters"][OWNED6]["interfaces"])


def silent_for(station: Station, frame: bytes, proof: bytes = b"", address: str = OWNED) -> None:
    """No ARP answer to the frame: the answer to a later, good question comes first."""
    station.drain()
    station.send(frame)
    station.send(proof or arp(address))
    seen = station.until(is_arp_reply(address))
    replies = [each.hex() for each in seen[:-1] if each[12:14] == b"\x08\x06" and each[:1] != b"\xff"]
    assert not replies


def test_an_owned_address_gets_exactly_one_answer_with_this_interfaces_mac(reflex: Reflex) -> None:
    reflex.duties([OWNED, None])
    asked = run(*inside(NEIGHBOUR, "arping", "-c", "3", "-W", "0.2", "-i", "p0", OWNED))
    assert asked.count(NODE_MAC["eth0"]) == 3, asked
    assert "3 packets transmitted, 3 packets received,   0% unanswered (0 extra)" in asked


def test_an_unowned_address_gets_no_answer(reflex: Reflex, near: Station) -> None:
    reflex.duties([OWNED, None])
    silent_for(near, arp(UNOWNED))


def test_a_released_address_gets_no_answer(reflex: Reflex, near: Station) -> None:
    reflex.duties([OWNED, None], [OTHER, None])
    near.send(arp(OTHER))
    near.until(is_arp_reply(OTHER))
    reflex.say({"remove": [OTHER]}, reflex.agent)
    silent_for(near, arp(OTHER))


def test_an_excluded_interface_stays_silent(reflex: Reflex, stations: dict[str, Station]) -> None:
    reflex.duties([OWNED, None])
    stations["p9"].send(arp(OWNED, mac=PEER_MAC["p9"]))
    stations["p0"].send(arp(OWNED))
    stations["p0"].until(is_arp_reply(OWNED))
    assert not [frame for frame in stations["p9"].frames(0.3) if is_arp_reply(OWNED)(frame)]
    assert reflex.state()["interfaces"] == ["eth0", "eth1"]


def test_each_interface_answers_with_its_own_mac(reflex: Reflex, stations: dict[str, Station]) -> None:
    reflex.duties([OWNED, None])
    for far, near in (("p0", "eth0"), ("p1", "eth1")):
        stations[far].send(arp(OWNED, mac=PEER_MAC[far]))
        answer = stations[far].until(
            lambda frame, far=far: is_arp_reply(OWNED)(frame) and frame[:6] == mac_bytes(PEER_MAC[far])
        )[-1]
        assert answer[6:12] == answer[22:28] == mac_bytes(NODE_MAC[near])


def test_an_address_is_answered_only_on_the_interfaces_it_names(
    reflex: Reflex, stations: dict[str, Station]
) -> None:
    reflex.duties([OWNED, ["eth1"]], [OTHER, ["eth0"]])
    silent_for(stations["p0"], arp(OWNED), address=OTHER)
    other_way = arp(OWNED, mac=PEER_MAC["p1"])
    silent_for(stations["p1"], arp(OTHER, mac=PEER_MAC["p1"]), other_way)


def test_probes_and_unicast_requests_are_answered(reflex: Reflex, near: Station) -> None:
    reflex.duties([OWNED, None])
    for question in (arp(OWNED, sender="0.0.0.0"), arp(OWNED, to=NODE_MAC["eth0"])):
        near.drain()
        near.send(question)
        near.until(lambda frame: is_arp_reply(OWNED)(frame) and frame[:6] == mac_bytes(PEER_MAC["p0"]))


def test_a_frame_of_another_vlan_or_another_station_is_not_answered(reflex: Reflex, near: Station) -> None:
    reflex.duties([OWNED, None], [OTHER, None])
    silent_for(near, arp(OTHER, tag=7))
    silent_for(near, arp(OTHER, to="02:00:00:00:00:77"))
    near.send(arp(OTHER, tag=0))  # a priority tag is no VLAN
    near.until(is_arp_reply(OTHER))


def test_gaining_an_address_is_told_at_once_and_again_until_five_seconds_later(
    reflex: Reflex, near: Station
) -> None:
    near.drain()
    before = time.monotonic()
    reflex.duties([OWNED, None])
    near.until(is_gratuitous(OWNED))
    first = time.monotonic() - before
    seen = [frame for frame in near.frames(5.5) if is_gratuitous(OWNED)(frame)]
    operations = [frame[21] for frame in seen]
    assert operations.count(1) == 9
    assert operations.count(2) == 10
    assert {frame[:6] for frame in seen} == {mac_bytes(BROADCAST)}
    figures(f"first gratuitous frame {first * 1000:.1f} ms after the duty was sent")


def test_an_agent_that_returns_with_the_same_duties_is_not_heard(reflex: Reflex, near: Station) -> None:
    reflex.duties([OWNED, None])
    for _ in range(20):
        near.until(is_gratuitous(OWNED), limit=2)
    assert not [frame for frame in near.frames(1.0) if is_gratuitous(OWNED)(frame)]
    with reflex.connect() as successor:
        for message in ({"identity": IDENTITY}, {"add": [[OWNED, None, ["node"]]]}, {"full": True}):
            reflex.say(message, successor)
        assert not [frame for frame in near.frames(0.5) if is_gratuitous(OWNED)(frame)]
        assert not reflex.state()["counters"].keys() - {OWNED}


def test_a_link_that_comes_back_is_told_again(reflex: Reflex, near: Station) -> None:
    reflex.duties([OWNED, None])
    near.until(is_gratuitous(OWNED))
    link("set", "eth0", "down")
    reflex.wait_for(lambda: reflex.state()["interfaces"] == ["eth1"])
    assert reflex.state()["counters"][OWNED]["interfaces"] == ["eth1"]
    near.drain()
    link("set", "eth0", "up")
    near.until(is_gratuitous(OWNED))
    near.ask(arp(OWNED), is_arp_reply(OWNED))


def test_an_interface_that_appears_later_answers_too(reflex: Reflex) -> None:
    reflex.duties([OWNED, None])
    try:
        link("add", "eth7", "type", "veth", "peer", "p7", "netns", NEIGHBOUR)
        link("set", "p7", "address", PEER_MAC.setdefault("p7", "02:00:00:00:00:27"), "up", of=NEIGHBOUR)
        station = Station("p7")
        link("set", "eth7", "up")
        station.until(is_gratuitous(OWNED))
        station.ask(arp(OWNED, mac=PEER_MAC["p7"]), is_arp_reply(OWNED))
        station.close()
    finally:
        link("delete", "eth7")
        PEER_MAC.pop("p7", None)
    reflex.wait_for(lambda: reflex.state()["interfaces"] == ["eth0", "eth1"])


def test_a_bridge_port_does_not_answer(reflex: Reflex, near: Station) -> None:
    reflex.duties([OWNED, None])
    try:
        link("add", "br7", "type", "bridge")
        link("set", "eth1", "master", "br7")
        reflex.wait_for(lambda: "eth1" not in reflex.state()["interfaces"])
        near.send(arp(OWNED))
        near.until(is_arp_reply(OWNED))
    finally:
        link("set", "eth1", "nomaster")
        link("delete", "br7")
    reflex.wait_for(lambda: reflex.state()["interfaces"] == ["eth0", "eth1"])


def test_another_station_that_claims_an_owned_address_is_reported_once(reflex: Reflex, near: Station) -> None:
    reflex.duties([OWNED, None])
    for _ in range(3):
        near.send(arp(OWNED, sender=OWNED))
        near.send(arp(OWNED, sender=OWNED, operation=2))
    reflex.wait_for(lambda: bool(reflex.state()["conflicts"]) and reflex.state()["conflicts"][0]["seen"] == 6)
    (conflict,) = reflex.state()["conflicts"]
    assert (conflict["address"], conflict["interface"], conflict["mac"]) == (OWNED, "eth0", PEER_MAC["p0"])
    assert reflex.log().count("address-conflict") == 1


def test_multicast_and_unicast_solicitations_are_answered(reflex: Reflex, near: Station) -> None:
    reflex.duties([OWNED6, None])
    ready_for_ndp(reflex)
    for question in (
        solicitation(OWNED6),
        solicitation(OWNED6, unicast_to=NODE_MAC["eth0"]),
        solicitation(OWNED6, unicast_to=NODE_MAC["eth0"], option=False),
    ):
        near.drain()
        near.send(question)
        answer = near.until(
            lambda frame: is_advertisement(OWNED6)(frame) and frame[:6] == mac_bytes(PEER_MAC["p0"])
        )[-1]
        assert answer[58] == 0x60  # solicited, override, not a router
        assert answer[78:86] == b"\x02\x01" + mac_bytes(NODE_MAC["eth0"])


def test_duplicate_address_detection_is_answered_to_all_nodes(reflex: Reflex, near: Station) -> None:
    reflex.duties([OWNED6, None])
    ready_for_ndp(reflex)
    for _ in range(10):
        near.until(is_advertisement(OWNED6), limit=2)
    near.send(solicitation(OWNED6, sender="::", option=False))
    answer = near.until(is_advertisement(OWNED6))[-1]
    assert answer[38:54] == ip_bytes("ff02::1")
    assert answer[58] == 0x20


def test_the_neighbours_kernel_finds_and_keeps_an_ipv6_address(reflex: Reflex) -> None:
    """Linux as judge: resolution by multicast, then its own unicast probe of a stale entry."""
    reflex.duties([OWNED6, None])
    ready_for_ndp(reflex)
    neighbours = ("ip", "-n", NEIGHBOUR, "neigh")
    with socket_in(NEIGHBOUR, socket.AF_INET6, socket.SOCK_DGRAM) as client:
        client.sendto(b"anything", (OWNED6, 9))
    reflex.wait_for(lambda: NODE_MAC["eth0"] in run(*neighbours, "show", OWNED6))
    before = reflex.state()["counters"][OWNED6]["requests"]
    run(*neighbours, "change", OWNED6, "dev", "p0", "lladdr", NODE_MAC["eth0"], "nud", "probe")
    reflex.wait_for(lambda: "REACHABLE" in run(*neighbours, "show", OWNED6))
    assert reflex.state()["counters"][OWNED6]["requests"] == before + 1
    run(*neighbours, "flush", "dev", "p0")


def test_the_neighbours_kernel_moves_to_the_new_owner_at_the_first_gratuitous_frame(reflex: Reflex) -> None:
    neighbours = ("ip", "-n", NEIGHBOUR, "neigh")
    stale = ("lladdr", "02:00:00:00:00:66", "nud", "reachable")
    run(*neighbours, "replace", OWNED, "dev", "p0", *stale)
    reflex.duties([OWNED, None])
    reflex.wait_for(lambda: NODE_MAC["eth0"] in run(*neighbours, "show", OWNED), limit=0.5)
    run(*neighbours, "flush", "dev", "p0")


def test_the_solicited_node_group_is_joined_and_left(reflex: Reflex) -> None:
    reflex.duties([OWNED6, None])
    ready_for_ndp(reflex)
    groups = ("ip", "-n", NODE, "-6", "maddr", "show", "dev", "eth0")
    reflex.wait_for(lambda: "ff02::1:ff00:100" in run(*groups))
    reflex.duties()
    reflex.wait_for(lambda: "ff02::1:ff00:100" not in run(*groups))


def test_killing_the_agent_leaves_its_answers(reflex: Reflex, near: Station, tmp_path: Path) -> None:
    agent = subprocess.Popen(
        (sys.executable, "-c", AGENT, str(reflex.path), OWNED),
        env={"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert agent.stdout is not None
    assert json.loads(agent.stdout.readline())[OWNED]["interfaces"] == ["eth0", "eth1"]
    agent.send_signal(signal.SIGKILL)
    agent.wait()
    reflex.wait_for(lambda: "agent-gone" in reflex.log())
    near.drain()
    near.send(arp(OWNED))
    near.until(is_arp_reply(OWNED))


AGENT = """
import asyncio, json, sys
from metalbgp.reflex.client import May, ReflexClient

async def main():
    client = ReflexClient(sys.argv[1])
    await client.set_identity("node", [b"k" * 32])
    await client.set_duties({sys.argv[2]: May(None, ("node",))})
    while sys.argv[2] not in client.owned:
        await asyncio.sleep(0.01)
    await client.ask()
    print(json.dumps(client.counters), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def age_of_what_waited() -> float:
    """Seconds, as the kernel's stamp has it, of a datagram that was read 20 ms after it came."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind(("127.0.0.1", 0))
        own.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        own.sendto(b"x", own.getsockname())
        time.sleep(0.02)
        return age(own.recvmsg(1, 128)[1])


def test_what_queued_while_the_process_was_stopped_is_dropped(reflex: Reflex, near: Station) -> None:
    reflex.duties([OWNED, None], [OTHER, None])
    # The kernel begins to stamp frames a moment after the first socket asked for it; before, all are fresh.
    wait_for(lambda: age_of_what_waited() > 0.01, "the kernel to stamp what it receives")
    reflex.process.send_signal(signal.SIGSTOP)
    try:
        near.send(arp(OTHER))
        assert not [frame for frame in near.frames(1.2) if is_arp_reply(OTHER)(frame)]
    finally:
        reflex.process.send_signal(signal.SIGCONT)
    near.send(arp(OWNED))
    seen = near.until(is_arp_reply(OWNED))
    assert not [frame for frame in seen if is_arp_reply(OTHER)(frame)]
    assert reflex.state()["dropped"].get("stale", 0) >= 1  # a busy machine may have kept more waiting


def test_a_thousand_addresses_are_taken_on_while_answers_go_on(reflex: Reflex, near: Station) -> None:
    many = [f"10.9.{high}.{low}" for high in range(4) for low in range(1, 251)]
    reflex.duties([OWNED, None])
    reflex.duties([OWNED, None], *([address, None] for address in many))
    for address in (OWNED, many[0], many[499], many[-1]):
        near.send(arp(address))
        near.until(is_arp_reply(address))
    assert len(reflex.state()["counters"]) == 1001
    assert not reflex.state()["send_errors"]


def test_two_capabilities_are_enough_and_all_that_is_left(reflex: Reflex) -> None:
    wanted = f"{1 << 13 | 1 << 23:016x}"
    assert [reflex.status(field) for field in ("CapPrm", "CapEff", "CapBnd")] == [wanted] * 3
    assert reflex.status("CapInh") == reflex.status("CapAmb") == "0" * 16
    assert reflex.status("NoNewPrivs") == "1"
    assert oct(reflex.path.stat().st_mode & 0o777) == "0o600"
    assert reflex.state()["realtime"] in ("fifo", "deadline", "nice")


def test_a_flood_neither_trips_the_fuse_nor_starves_the_agent(reflex: Reflex, near: Station) -> None:
    reflex.duties([OWNED, None])
    flooding = threading.Event()
    flooding.set()

    def flood() -> None:
        question = arp(OWNED)
        while flooding.is_set():
            try:
                near.send(question)
            except OSError:
                continue

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        begin, used = time.monotonic(), reflex.cpu()
        until = begin + 2.0
        worst = 0.0
        while time.monotonic() < until:
            before = time.monotonic()
            reflex.state()
            worst = max(worst, time.monotonic() - before)
        share = (reflex.cpu() - used) / (time.monotonic() - begin)
    finally:
        flooding.clear()
        thread.join()
    assert reflex.process.poll() is None, reflex.log()
    assert share < 0.6
    assert reflex.state()["dropped"]["asker-limit"] > 0
    other = "02:00:00:00:00:77"
    near.ask(
        arp(OWNED, mac=other), lambda frame: is_arp_reply(OWNED)(frame) and frame[:6] == mac_bytes(other)
    )
    replies = reflex.state()["counters"][OWNED]["replies"]
    figures(
        f"flood: {replies / 2:.0f} answers/s with {share:.0%} of a core, "
        f"the agent's slowest question {worst * 1000:.0f} ms"
    )


def test_answers_are_fast_and_the_process_small(reflex: Reflex, near: Station) -> None:
    reflex.duties([OWNED, None], [OWNED6, None])
    ready_for_ndp(reflex)
    for name, question, answered in (
        ("ARP", arp(OWNED), is_arp_reply(OWNED)),
        ("NDP", solicitation(OWNED6), is_advertisement(OWNED6)),
    ):
        taken = []
        for _ in range(500):
            near.drain()
            before = time.monotonic()
            near.send(question)
            near.until(answered)
            taken.append((time.monotonic() - before) * 1000)
        taken.sort()
        middle, slow, worst = statistics.median(taken), taken[494], taken[-1]
        figures(f"{name}: question → answer p50 {middle:.2f} ms, p99 {slow:.2f} ms, max {worst:.2f} ms")
        assert middle < 5
    resident = int(reflex.status("VmRSS").split()[0]) / 1024
    figures(f"realtime {reflex.state()['realtime']}, resident {resident:.1f} MiB")
    assert resident < 20


def test_rubbish_from_the_agent_costs_nobody_an_answer(reflex: Reflex, near: Station) -> None:
    reflex.duties([OWNED, None], ["224.0.0.1", None], ["nonsense", None], [OTHER, "eth0"])
    assert sorted(reflex.state()["counters"]) == [OWNED]
    assert len(reflex.state()["problems"]) == 3
    with reflex.connect() as stranger:
        stranger.sendall(b"\xff{\n[]\n" + b'{"add": [["192.0.2.7", null, ["node"]]]}\n')
        reader = stranger.makefile("rb")
        problems = [json.loads(reader.readline())["problem"] for _ in range(3)]
        assert problems == ["not JSON", "not an object", "say the identity first"]
    with reflex.connect() as endless, pytest.raises((BrokenPipeError, ConnectionResetError)):
        while True:
            endless.sendall(b"x" * (1 << 16))
    near.send(arp(OWNED))
    near.until(is_arp_reply(OWNED))
    assert isinstance(reflex.agent, socket.socket)


def test_without_sys_nice_it_runs_and_says_that_it_is_not_realtime(lab: None, tmp_path: Path) -> None:
    process = Reflex(tmp_path, capabilities="-all,+net_raw")
    assert process.state()["realtime"] == "none"
    process.stop()


def test_deadline_is_taken_where_fifo_is_refused() -> None:
    program = (
        "import os; from metalbgp.reflex import realtime; "
        "print(realtime._take_deadline(), os.sched_getscheduler(0))"
    )
    taken, policy = run("env", f"PYTHONPATH={ROOT}", sys.executable, "-c", program).split()
    if taken != "True":
        pytest.skip("this machine grants no more deadline reservations")
    assert int(policy) & 0xFF == 6
