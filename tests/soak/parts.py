"""The processes of a soak, by name: killed, stopped in order, paused, and none of them left over.

In:  bench/chain.py's Chain; names of steps.py. Out: left_over(), in words.
Elsewhere: when is steps.py; objects, and what routers hold, world.py.
"""

import os
import signal
import sys
from contextlib import suppress
from typing import Final

from bench.chain import Chain
from tests.soak.strait import Strait
from tests.wire.bgp_lab import SPEAKER, Router, children, cmdline
from tests.wire.doing import run

REFLEX: Final = f"{sys.executable} -m metalbgp.reflex"
PROFILE: Final = " profile soak\n  receive-interval 300\n  transmit-interval 300"
CONTROLLERS: Final = ("controller", "controller-b")
PATIENCE: Final = 40.0  # seconds for a process that was asked to end; a pod has thirty


def start_router(router: Router, password: str = "") -> None:
    """The second has BFD, for whoever asks it."""
    lines = ["bfd", "bfd profile soak"] if router.number == 2 else []
    router.start(neighbor_lines=lines, bfd=PROFILE if lines else "")
    if password:
        set_password(router, password)


def set_password(router: Router, word: str) -> None:
    """For our session alone; `""`: none."""
    line = f"neighbor {router.ours4} password {word}" if word else f"no neighbor {router.ours4} password"
    router.vtysh("configure terminal", f"router bgp {router.asn}", line)


class Parts:
    def __init__(self, it: Chain, strait: Strait) -> None:
        self._it, self._strait = it, strait
        self._passwords: dict[str, str] = {}

    def pause(self, part: str) -> None:
        if ":" in part:
            self._strait.hold(part)
        else:
            self._send(part, signal.SIGSTOP)

    def resume(self, part: str) -> None:
        if ":" in part:
            self._strait.release(part)
        else:
            self._send(part, signal.SIGCONT)

    def kill(self, part: str) -> None:
        match part:
            case "agent":
                self._it.again("speaker")
            case "controller" | "controller-b":
                self._it.again(part)
            case "parent":  # and all its children
                self._it.lab.speaker.kill()
                self._start_parent()
            case "pod":
                self._it.lab.speaker.kill()
                self._it.again("speaker")
                self._start_parent()
            case "router-1" | "router-2":
                router = self._router(part)
                router.kill()
                start_router(router, self._passwords.get(f"r{router.number}", ""))
            case _:
                self._send(part, signal.SIGKILL)

    def stop(self, part: str) -> None:
        """SIGTERM, and again: nothing that is paused can be asked."""
        for one in ("agent", "parent", "exabgp", "helper", "reflex", *CONTROLLERS):
            if one == part or (part == "pod" and one not in CONTROLLERS):
                self._send(one, signal.SIGCONT)
        name = part if part in CONTROLLERS else "speaker"
        process = self._it.own[name]
        process.terminate()
        process.wait(PATIENCE)
        if part == "pod":
            self._it.lab.speaker.terminate()
            self._start_parent()
        self._it.again(name)

    def password(self, peer: str, word: str) -> None:
        self._passwords[peer] = word
        router = self._it.routers[int(peer[1:]) - 1]
        os.kill(self._pid(f"router-{router.number}"), signal.SIGCONT)  # paused it hears no command
        set_password(router, word)

    def go_on(self) -> None:
        """However a run ended: what is stopped cannot be cleaned away."""
        for part in ("agent", "parent", "exabgp", "helper", "reflex", *CONTROLLERS, "router-1", "router-2"):
            with suppress(OSError, ValueError):
                self._send(part, signal.SIGCONT)

    def left_over(self) -> list[str]:
        """Processes of the speaker that nobody knows any more."""
        speaker = self._it.lab.speaker
        known = {speaker.pid, speaker.exabgp(), speaker.helper(), self._pid("reflex")}
        found = {int(pid) for pid in run("ip", "netns", "pids", SPEAKER).split()}
        return [f"process {pid} is left over: {cmdline(pid)!r}" for pid in sorted(found - known)]

    def _start_parent(self) -> None:
        self._it.lab.speaker.start(METALBGP_REFLEX=REFLEX)

    def _router(self, part: str) -> Router:
        return self._it.routers[int(part.rpartition("-")[2]) - 1]

    def _pid(self, part: str) -> int:
        """0: it is on its way up again."""
        speaker = self._it.lab.speaker
        match part:
            case "agent":
                return self._it.own["speaker"].pid
            case "controller" | "controller-b":
                return self._it.own[part].pid
            case "parent":
                return speaker.pid
            case "exabgp":
                return speaker.exabgp()
            case "helper":
                return speaker.helper()
            case "reflex":
                found = [pid for pid in children(speaker.pid) if b"metalbgp.reflex" in cmdline(pid)]
                return found[0] if found else 0
            case "router-1" | "router-2":
                return int((self._router(part).folder / "bgpd.pid").read_text())
        raise AssertionError(part)

    def _send(self, part: str, number: signal.Signals) -> None:
        if pid := self._pid(part):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
