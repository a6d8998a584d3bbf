"""What `metalbgp l2 probe` runs on a node: the segment is asked, and everybody who answers is told."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from l2_segment import NEIGHBOUR, NODE, NODE_MAC, PEER_MAC, ROOT, Reflex, inside, link, segment

from tests.wire.doing import run

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs network namespaces")

TAKEN, FREE = ("192.0.2.2", "2001:db8::2"), ("192.0.2.201", "2001:db8::201")


@pytest.fixture(scope="module")
def lab() -> Iterator[None]:
    """A second wire, p1, leads to the same neighbour, whose kernel answers on it for itself alone."""
    with segment():
        run(*inside(NEIGHBOUR, "sysctl", "-q", "net.ipv4.conf.all.arp_ignore=1"))
        deadline = time.monotonic() + 10
        while not _settled():
            assert time.monotonic() < deadline
        yield


def _settled() -> bool:
    """Both kernels are sure of their link-local addresses on p0 and eth0: before that IPv6 is silent."""
    found = [
        run("ip", "-n", where, "-6", "address", "show", "dev", name, "scope", "link")
        for where, name in ((NEIGHBOUR, "p0"), (NODE, "eth0"))
    ]
    return all("fe80" in one and "tentative" not in one for one in found)


def done(
    *words: str, where: str = NODE, capabilities: str = "-all,+net_raw"
) -> subprocess.CompletedProcess[str]:
    """As in the pod: uid 0 with its capabilities, no more than the standard library (-S)."""
    command = inside(
        where,
        *("setpriv", "--bounding-set", capabilities, "--inh-caps", "-all", "--no-new-privs"),
        *(sys.executable, "-S", "-m", *words),
    )
    return subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        timeout=20,
    )


def asked(*words: str, where: str = NODE) -> dict[str, Any]:
    found = done("metalbgp.l2.ask", *words, where=where)
    assert found.returncode == 0, found.stderr
    answer: dict[str, Any] = json.loads(found.stdout)
    return answer


@pytest.mark.parametrize(("taken", "free"), list(zip(TAKEN, FREE, strict=True)))
def test_who_has_the_address_is_told_by_mac_and_interface_and_silence_is_told_too(
    lab: None, taken: str, free: str
) -> None:
    found = asked(taken, "eth0", "eth1")
    assert [(one["interface"], one["mac"]) for one in found["answers"]] == [("eth0", PEER_MAC["p0"])]
    assert found["asked"] == ["eth0", "eth1"]
    assert asked(free)["answers"] == []


@pytest.mark.parametrize("address", FREE)
def test_two_who_answer_are_both_told(lab: None, tmp_path: Path, address: str) -> None:
    """The reflex has it on the node, and a machine beside it has it as well; the neighbour asks both."""
    reflex = Reflex(tmp_path)
    second = f"{NODE}-second"
    try:
        reflex.duties([address])
        reflex.wait_for(lambda: "eth0" in reflex.state()["counters"][address]["interfaces"])
        macs = {one["mac"] for one in asked(address, "p0", "p1", where=NEIGHBOUR)["answers"]}
        assert macs == {NODE_MAC["eth0"], NODE_MAC["eth1"]}
        run("ip", "netns", "add", second)
        link("add", "s0", "type", "veth", "peer", "far", "netns", second, of=NEIGHBOUR)
        link("add", "br0", "type", "bridge", of=NEIGHBOUR)
        for port in ("p0", "s0"):
            link("set", port, "master", "br0", of=NEIGHBOUR)
            link("set", port, "up", of=NEIGHBOUR)
        link("set", "br0", "up", of=NEIGHBOUR)
        link("set", "far", "address", "02:00:00:00:00:66", "up", of=second)
        words = ("nodad",) if ":" in address else ()
        run("ip", "-n", second, "address", "add", f"{address}/{64 if words else 24}", "dev", "far", *words)
        reflex.wait_for(lambda: _answering(address) == {NODE_MAC["eth0"], "02:00:00:00:00:66"})
    finally:
        subprocess.run(("ip", "netns", "delete", second), check=False, capture_output=True)
        subprocess.run(("ip", "-n", NEIGHBOUR, "link", "del", "br0"), check=False, capture_output=True)
        reflex.stop()


def _answering(address: str) -> set[str]:
    found = asked(address, "br0", where=NEIGHBOUR)
    return {one["mac"] for one in found["answers"]}


def test_nothing_is_learned_by_the_neighbour_and_it_ends_within_two_seconds(lab: None) -> None:
    begun = time.monotonic()
    asked(FREE[0], "eth0")
    assert time.monotonic() - begun < 10  # five times what is promised
    assert FREE[0] not in run(*inside(NEIGHBOUR, "ip", "neigh"))


def test_what_cannot_be_asked_is_said_with_the_remedy(lab: None) -> None:
    for wrong in ("", "224.0.0.1", "192.0.2.0/24", "ff02::1", "web"):
        found = done("metalbgp.l2.ask", wrong)
        assert (found.returncode, found.stdout) == (1, "")
        assert found.stderr == f"{wrong!r} is no unicast address\n"
    found = done("metalbgp.l2.ask", FREE[0], capabilities="-all")
    assert found.returncode == 1
    assert "lacks capability NET_RAW; remedy: " in found.stderr
    assert "Traceback" not in found.stderr
    why = asked(FREE[0], "eth0", "nonesuch", "lo")["failed"]
    assert why["nonesuch"] == "there is none"
    assert why["lo"].startswith("it has no link, or is no Ethernet interface")


def test_the_reflex_is_asked_for_all_one_or_no_address_and_for_its_host(lab: None, tmp_path: Path) -> None:
    reflex = Reflex(tmp_path)
    try:
        reflex.duties(*([address] for address in FREE))

        def told(*words: str) -> dict[str, Any]:
            command = inside(NODE, sys.executable, "-S", "-m", "metalbgp.reflex.ask", *words)
            environment = {"PATH": os.environ["PATH"], "METALBGP_RUN": str(tmp_path)}
            found = subprocess.run(
                command, capture_output=True, text=True, cwd=ROOT, env=environment, check=True, timeout=20
            )
            answer: dict[str, Any] = json.loads(found.stdout)
            return answer

        assert told("state")["addresses"].keys() == set(FREE)
        assert told("state", FREE[1])["addresses"].keys() == {FREE[1]}
        assert told("state", "-")["addresses"] == {}
        host = told("host", "-")["host"]
        assert host["ipv4"]["eth0"].keys() == {"arp_ignore", "arp_announce", "rp_filter", "proxy_arp"}
        assert {"eth0", "eth1", "lo"} <= set(host["links"])
        assert host["default"] == []
    finally:
        reflex.stop()
    found = done("metalbgp.reflex.ask", "state")
    assert found.returncode == 1
    assert found.stderr.startswith("no answer from the reflex: ")
