"""Starts ExaBGP 5.0.15 with six mends, each small and for a fault that was measured. No other version.

In:  argv as for `exabgp` (`launch.py FILE`, `launch.py validate FILE`); environment variables exabgp.*.
Out: ExaBGP itself, in this process.
"""

import sys
import time
from types import ModuleType
from typing import Any

VERSION = "5.0.15"


class Steady(ModuleType):
    """The module `time`, whose time() never jumps: the wall clock of the start plus what has passed since.

    ExaBGP's hold, keepalive and reconnect timers read the wall clock; a step of it (NTP, a suspended machine)
    would expire every session or stop the keepalives.
    """

    def __init__(self) -> None:
        super().__init__("time")
        self._offset = time.time() - time.monotonic()

    def time(self) -> float:
        return time.monotonic() + self._offset

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


def timers_do_not_jump() -> None:
    from exabgp.bgp import timer
    from exabgp.reactor import delay, loop, peer
    from exabgp.reactor.api import processes

    steady = Steady()
    for module in (timer, delay, loop, peer, processes):
        module.time = steady


def last_command_wins() -> None:
    """A newer change of a prefix takes the older one out of its batch, whatever its attributes."""
    from exabgp.rib.outgoing import OutgoingRIB

    original = OutgoingRIB._update_rib

    def update(self: Any, change: Any) -> Any:
        index = change.index()
        older = self._new_nlri.get(index)
        if older is not None:
            batch = self._new_attr_af_nlri.get(older.attributes.index(), {})
            batch.get(older.nlri.family().afi_safi(), {}).pop(index, None)
        return original(self, change)

    OutgoingRIB._update_rib = update


def reload_waits_for_living_peers_only() -> None:
    """A peer that cannot be reached and has unsent routes must not block every reload."""
    from exabgp.reactor.loop import Reactor

    def pending(self: Any) -> bool:
        peers = (self._peers[name] for name in self.established_peers())
        return any(peer.neighbor.rib.outgoing.pending() for peer in peers)

    Reactor._pending_adjribout = pending


def flush_is_not_a_refresh() -> None:
    """`flush adj-rib out` only resends: the markers of RFC 7313 are for those who asked for a refresh."""
    from exabgp.reactor.loop import Reactor

    def resend(self: Any, peer_name: str) -> None:
        peer = self._peers.get(peer_name)
        if peer is not None:
            peer.resend(False)

    Reactor.neighbor_rib_resend = resend


def reload_keeps_the_local_address() -> None:
    """`local-address auto` is found when a session connects; a reload that keeps that must keep it too.

    Without it every `next-hop self` is refused on a session that lived through a reload.
    """
    from exabgp.reactor.peer import Peer

    original = Peer.reconfigure

    def reconfigure(self: Any, fresh: Any = None) -> Any:
        if fresh is not None and fresh.auto_discovery and fresh["local-address"] is None:
            fresh["local-address"] = self.neighbor["local-address"]
        return original(self, fresh)

    Peer.reconfigure = reconfigure


def a_lost_helper_ends_no_session() -> None:
    """A line that no helper reads any more is dropped; the next one is told how everything stands.

    ExaBGP would end the session that the line is about, and stop every peer for good.
    """
    from exabgp.reactor.api.processes import ProcessError, Processes

    original = Processes.write

    def write(self: Any, process: str, string: Any, neighbor: Any = None) -> Any:
        try:
            return original(self, process, string, neighbor)
        except ProcessError:
            self._broken.clear()
            return True

    Processes.write = write


def mend() -> None:
    timers_do_not_jump()
    last_command_wins()
    reload_waits_for_living_peers_only()
    flush_is_not_a_refresh()
    reload_keeps_the_local_address()
    a_lost_helper_ends_no_session()


def main() -> Any:
    from exabgp.version import version

    if version.split("-")[0] != VERSION:
        sys.stderr.write(f"launch.py mends ExaBGP {VERSION} and was given {version}: measure it first\n")
        return 3
    mend()
    from exabgp.application.main import main as exabgp

    return exabgp()


if __name__ == "__main__":
    sys.exit(main())
