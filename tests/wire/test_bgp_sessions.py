"""Sessions come, go and fail, each without touching the others; what a stop leaves; who has which rights.

Needs root, FRR and network namespaces.
"""

import base64
import os
import signal
import socket
from pathlib import Path

import pytest

from bench.processes import seconds
from tests.wire.bgp_lab import (
    SPEAKER,
    Attributes,
    Key,
    Lab,
    children,
    cmdline,
    routes,
    two_routers,
)
from tests.wire.doing import nothing_for, run, wait_for


def secret(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_a_peer_is_added_changed_and_removed_without_touching_the_other_session(lab: Lab) -> None:
    one, two = lab.router(1), lab.router(2)
    one.start()
    two.start()
    lab.speaker.start()
    agent = lab.speaker.agent()
    agent.neighbors(one.neighbor())
    wants = routes(one.v4) | routes(two.v4)
    agent.want(wants)
    agent.established(one.v4)
    agent.settled(routes(one.v4))
    agent.neighbors(one.neighbor(), two.neighbor())
    agent.settled(wants)
    lab.equal(wants)
    agent.neighbors(one.neighbor(), two.neighbor(hold_time=30))
    agent.until(lambda: (two.v4, "Connect") in agent.session_log[-3:], "the bounce of the changed one")
    agent.settled(wants)
    agent.neighbors(one.neighbor())
    wait_for(lambda: two.table() == {}, "the removed one's routes to go")
    agent.until(lambda: agent.sessions[two.v4]["state"] == "Removed", "the report of the removal")
    lab.equal(routes(one.v4))
    agent.neighbors()
    agent.until(lambda: agent.sessions[one.v4]["state"] == "Removed", "the last one's removal")
    agent.neighbors(one.neighbor(), two.neighbor())
    agent.settled(wants)
    lab.equal(wants)
    assert one.session()["connectionsDropped"] == 1  # by its own removal


def test_a_session_that_lives_through_a_reload_takes_new_routes(lab: Lab) -> None:
    """ExaBGP forgot the session's own address in the reload, and refused `next-hop self` from then on."""
    one, two = lab.router(1), lab.router(2)
    one.start()
    lab.speaker.start()
    agent = lab.speaker.agent()
    agent.neighbors(one.neighbor())
    agent.established(one.v4)
    agent.neighbors(one.neighbor(), two.neighbor())  # where nobody listens
    agent.until(lambda: two.v4 in agent.sessions, "the second session to be tried")
    agent.want(routes(one.v4))
    agent.settled(routes(one.v4))
    wait_for(lambda: len(one.table()) == len(routes(one.v4)), "the routes on the router")
    assert one.session()["connectionsDropped"] == 0


def test_a_removed_peer_with_graceful_restart_loses_its_routes_at_once(lab: Lab) -> None:
    agent, one, two = two_routers(lab, graceful_restart=60)
    wants = routes(one["address"]) | routes(two["address"])
    agent.want(wants)
    agent.settled(wants)
    lab.equal(wants)  # an empty table must mean that they went, not that they have not come yet
    agent.neighbors(one)
    wait_for(lambda: lab.routers[2].table() == {}, "the routes of the removed peer to go", limit=3)
    lab.equal(routes(one["address"]))


def test_another_local_as_is_a_new_peer_and_gets_its_routes_again(lab: Lab) -> None:
    agent, one, two = two_routers(lab)
    wants = routes(one["address"]) | routes(two["address"])
    agent.want(wants)
    agent.settled(wants)
    router = lab.routers[2]
    router.vtysh("configure terminal", f"router bgp {router.asn}", f"neighbor {router.ours4} remote-as 65009")
    agent.neighbors(one, {**two, "local_as": 65009})
    agent.until(lambda: agent.sessions[two["address"]]["my_asn"] == 65009, "the new number")
    agent.established(two["address"])
    agent.settled(wants)
    lab.equal(wants)
    assert lab.routers[1].session()["connectionsDropped"] == 0


def test_a_reload_takes_effect_also_with_unsent_routes_and_a_peer_that_cannot_be_reached(lab: Lab) -> None:
    """Trap 2: a reload is dropped while an active peer has unsent routes, and still answered `done`."""
    agent, one, two = two_routers(lab)
    run("ip", "-n", SPEAKER, "link", "add", "dead", "type", "veth", "peer", "hole")
    run("ip", "-n", SPEAKER, "address", "add", "10.91.0.2/24", "dev", "dead")
    for end in ("dead", "hole"):
        run("ip", "-n", SPEAKER, "link", "set", end, "up")
    ether = "02:00:00:00:00:99"  # nobody's: SYNs vanish without an error
    run("ip", "-n", SPEAKER, "neighbor", "add", "10.91.0.1", "lladdr", ether, "dev", "dead")
    unreachable = {**two, "address": "10.91.0.1", "name": "nobody"}
    wants = routes(one["address"], 100) | routes(two["address"], 100) | routes("10.91.0.1", 100)
    agent.want(wants)
    agent.neighbors(one, unreachable)
    agent.want({key: {"med": 3} for key in routes(one["address"], 100)})
    agent.neighbors(one, unreachable, two)
    agent.want(wants)
    agent.settled(routes(one["address"], 100) | routes(two["address"], 100))
    lab.equal(routes(one["address"], 100) | routes(two["address"], 100))

    def reason() -> str:
        return str(agent.sessions.get("10.91.0.1", {}).get("last_error", ""))

    assert agent.routes["10.91.0.1", "192.0.2.1/32"] == "waiting"
    agent.until(lambda: "no answer from 10.91.0.1" in reason(), "the reason", 20)


def test_a_poisonous_peer_is_refused_before_the_file_and_the_others_go_on(lab: Lab) -> None:
    """Trap 3: one syntax error poisons every later reload."""
    agent, one, two = two_routers(lab)
    poison = [
        {**two, "address": "10.90.9.1; }"},
        {**two, "address": one["address"]},
        {**two, "address": "10.90.9.2", "interface": 'v0"; }'},
        {**two, "address": "10.90.9.3", "peer_as": "auto"},
        {**two, "address": "10.90.9.4", "password_base64": 'eA=="; shutdown'},
        {**two, "address": "10.90.9.5", "families": ["l2vpn"]},
        {"address": "10.90.9.6"},
    ]
    agent.neighbors(one, *poison, two)
    agent.until(lambda: len(agent.problems) >= len(poison), "a problem for each")
    wants = routes(one["address"]) | routes(two["address"])
    agent.want({**wants, (one["address"], "192.0.2.77/24"): {}, (one["address"], "json"): {}})
    agent.settled(wants)
    lab.equal(wants)
    agent.neighbors(one)
    agent.until(lambda: agent.sessions[two["address"]]["state"] == "Removed", "a reload that still works")
    assert lab.routers[1].session()["connectionsDropped"] == 0


def test_words_that_stop_exabgp_reach_it_as_numbers_only(lab: Lab) -> None:
    """Trap 4: `graceful-shutdown` in a command stops the daemon."""
    agent, one, _ = two_routers(lab)
    child = lab.speaker.exabgp()
    wants: dict[Key, Attributes] = {
        (one["address"], "192.0.2.1/32"): {"communities": [[65535, 0], [65535, 65281], [65535, 666]]}
    }
    agent.want(wants)
    agent.settled(wants)
    assert lab.speaker.exabgp() == child


def test_a_wrong_password_is_reported_and_the_others_go_on(lab: Lab) -> None:
    one, two = lab.router(1), lab.router(2)
    one.start(neighbor_lines=['password s3cret"words'])
    two.start()
    lab.speaker.start()
    agent = lab.speaker.agent()
    agent.neighbors(one.neighbor(password_base64=secret("wrong")), two.neighbor())
    wants = routes(one.v4) | routes(two.v4)
    agent.want(wants)
    agent.settled(routes(two.v4))
    agent.until(lambda: "password" in agent.sessions[one.v4]["last_error"], "the reason", limit=20)
    agent.neighbors(one.neighbor(password_base64=secret('s3cret"words')), two.neighbor())
    agent.established(one.v4, limit=30)
    agent.settled(wants)
    lab.equal(wants)
    assert two.session()["connectionsDropped"] == 0
    text = lab.speaker.log() + str(lab.speaker.ask())
    assert secret('s3cret"words') not in text
    assert "redacted" in str(lab.speaker.ask())


def test_a_peer_that_refuses_is_reported_in_the_words_of_the_rfc(lab: Lab) -> None:
    one, two = lab.router(1), lab.router(2)
    one.start(remote_as=64999)
    two.start()
    lab.speaker.start()
    agent = lab.speaker.agent()
    agent.neighbors(one.neighbor(), two.neighbor())
    agent.established(two.v4)
    agent.until(
        lambda: "OPEN Message Error / Bad Peer AS" in agent.sessions.get(one.v4, {}).get("last_error", ""),
        "the reason",
    )
    two.vtysh(
        "configure terminal", f"router bgp {two.asn}", f"neighbor {two.ours4} shutdown message maint window"
    )
    agent.until(lambda: agent.sessions[two.v4]["state"] != "Established", "the shutdown")
    assert agent.sessions[two.v4]["last_error"].startswith("Cease / Administrative Shutdown: ")
    assert '"maint window" (from the router)' in agent.sessions[two.v4]["last_error"]


@pytest.mark.parametrize("draining", [False, True])
def test_a_stop_keeps_the_routes_of_graceful_sessions_unless_the_node_is_left(
    lab: Lab, draining: bool
) -> None:
    agent, one, two = two_routers(lab, graceful_restart=60)
    wants = routes(one["address"]) | routes(two["address"])
    agent.want(wants)
    agent.settled(wants)
    if draining:
        agent.say({"drain": True})
    took = lab.speaker.terminate()
    assert took < 5
    lab.equal({} if draining else wants)
    if draining:
        return
    lab.speaker.start()
    seen = []
    agent = lab.speaker.agent()
    agent.neighbors(one, two)
    agent.established(one["address"], two["address"])
    changed = {**wants, (one["address"], "192.0.2.1/32"): None}
    agent.want({key: value for key, value in changed.items() if value})
    agent.until(lambda: seen.append(len(lab.routers[2].table())) or len(seen) > 20, "twenty looks")
    agent.settled({key: value for key, value in changed.items() if value})
    assert set(seen) == {5}, "a route was absent during the restart"
    lab.equal(changed)  # End-of-RIB came, and took what nobody wants any more


def test_a_stop_without_graceful_restart_withdraws_first(lab: Lab) -> None:
    agent, one, two = two_routers(lab)
    wants = routes(one["address"]) | routes(two["address"])
    agent.want(wants)
    agent.settled(wants)
    before = lab.routers[1].session()["messageStats"]["updatesRecv"]
    assert lab.speaker.terminate() < 5
    lab.equal({})
    assert lab.routers[1].session()["messageStats"]["updatesRecv"] > before


def test_a_killed_child_keeps_the_routes_of_graceful_sessions(lab: Lab) -> None:
    agent, one, two = two_routers(lab, graceful_restart=60)
    wants = routes(one["address"]) | routes(two["address"])
    agent.want(wants)
    agent.settled(wants)
    lab.equal(wants)  # confirmed is handed to the kernel; kill -9 may still come before the router reads it
    old = lab.speaker.exabgp()
    os.kill(old, signal.SIGKILL)
    seen: list[int] = []
    agent.until(lambda: seen.append(len(lab.routers[1].table())) or len(seen) > 20, "twenty looks")
    agent.established(one["address"], two["address"])
    agent.settled(wants)
    lab.equal(wants)
    assert set(seen) == {5}


def test_a_router_that_restarts_gets_everything_again(lab: Lab) -> None:
    agent, one, two = two_routers(lab)
    wants = routes(one["address"]) | routes(two["address"])
    agent.want(wants)
    agent.settled(wants)
    lab.routers[1].kill()
    agent.until(lambda: agent.sessions[one["address"]]["state"] == "Connect", "the loss")
    changed = wants | {(one["address"], "192.0.2.1/32"): None, (one["address"], "192.0.2.9/32"): {"med": 9}}
    agent.want(changed)
    lab.routers[1].start()
    agent.established(one["address"], limit=40)
    agent.settled(changed)
    lab.equal(changed)


def test_the_child_ends_with_its_parent(lab: Lab) -> None:
    two_routers(lab)
    child, helper = lab.speaker.exabgp(), lab.speaker.helper()
    os.kill(lab.speaker.pid, signal.SIGKILL)
    lab.speaker.kill()
    wait_for(lambda: b"launch.py" not in cmdline(child), "the end of ExaBGP")
    wait_for(lambda: b"helper.py" not in cmdline(helper), "the end of the helper")


def test_exabgp_and_its_helper_have_no_capabilities_and_can_gain_none(lab: Lab) -> None:
    two_routers(lab)
    for pid in (lab.speaker.exabgp(), lab.speaker.helper()):
        status = dict(
            line.split(":\t", 1)
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if ":\t" in line
        )
        assert status["NoNewPrivs"] == "1"
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(status[name], 16) == 0, name
    assert oct((lab.speaker.run / "exabgp.conf").stat().st_mode & 0o777) == "0o600"
    for name in ("parent.sock", "exabgp.sock"):
        assert oct((lab.speaker.run / name).stat().st_mode & 0o777) == "0o600"


def test_agent_and_reflex_are_restarted_each_for_itself_and_the_agent_without_rights(lab: Lab) -> None:
    lab.speaker.start(METALBGP_AGENT="/bin/sleep 1000", METALBGP_REFLEX="/bin/sleep 2000")

    def find(word: bytes) -> int:
        return next((p for p in children(lab.speaker.pid) if word in cmdline(p)), 0)

    agent, reflex = wait_for(lambda: find(b"1000"), "agent"), wait_for(lambda: find(b"2000"), "reflex")
    wait_for(lambda: b"sleep" in cmdline(agent) and b"sleep" in cmdline(reflex), "exec")
    assert "CapEff:\t0000000000000000" in Path(f"/proc/{agent}/status").read_text()
    assert "CapEff:\t0000000000000000" not in Path(f"/proc/{reflex}/status").read_text()
    exabgp = lab.speaker.exabgp()
    os.kill(agent, signal.SIGKILL)
    wait_for(lambda: find(b"1000") not in (0, agent), "another agent")
    assert (find(b"2000"), lab.speaker.exabgp()) == (reflex, exabgp)
    assert lab.speaker.terminate() < 5


def test_a_parent_with_a_client_that_does_not_read_keeps_its_sessions(lab: Lab) -> None:
    """Trap 5: an unread helper blocks ExaBGP. The parent always reads, whatever its own clients do."""
    agent, one, _ = two_routers(lab, hold_time=3)
    silent = socket.socket(socket.AF_UNIX)
    silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    silent.connect(str(lab.speaker.run / "parent.sock"))
    silent.sendall(b'{"hello":"agent"}\n')
    table = lab.routers[1].table
    for turn in range(8):
        wants = {(one["address"], f"192.0.{n // 250}.{n % 250}/32"): {"med": turn} for n in range(500)}
        line = '{"want":[' + ",".join(f'["{p}","{n}",{{"med":{turn}}}]' for p, n in wants) + "]}\n"
        silent.sendall(line.encode())
        wait_for(lambda t=turn: set(table().values()) == {t} and len(table()) == 500, "all routes", 20)
    assert lab.routers[1].session()["connectionsDropped"] == 0
    silent.close()
    agent.close()


def test_the_child_rests_when_its_last_peer_is_gone(lab: Lab) -> None:
    """The connection that lingers must not wake it again and again."""
    router = lab.router(1)
    router.start()
    lab.speaker.start()
    agent = lab.speaker.agent()
    agent.neighbors(router.neighbor())
    agent.established(router.v4)
    agent.neighbors()
    agent.until(lambda: agent.sessions[router.v4]["state"] == "Removed", "it is gone")
    began = seconds(lab.speaker.exabgp())
    nothing_for(2.0)  # the figure is CPU seconds of this time
    used = seconds(lab.speaker.exabgp()) - began
    assert used < 0.1, f"{used:.2f} s of CPU in 2 s"
