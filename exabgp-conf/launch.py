"""Starts ExaBGP 5.0.15 with thirteen mends, each small and for a fault that was measured. No other version.

In:  argv as for `exabgp` (`launch.py FILE`, `launch.py validate FILE`); environment variables exabgp.*.
Out: ExaBGP itself, in this process.
One file because it is what stands between us and ExaBGP: who upgrades it reads this from end to end.
"""

import re
import sys
import time
from contextlib import suppress
from itertools import islice
from types import ModuleType
from typing import Any

VERSION = "5.0.15"
PAUSE = 3  # seconds: a router hears of a dead path within one, and would end the next session over it
SOON = (0, 0.1, 0.3)  # seconds before each of the first tries after a loss
SEND_HOLD = 480  # seconds for a router that reads nothing, where the hold time is none (RFC 9687)
AHEAD = 4096  # bytes that may wait for a socket while more is written: the longest message


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
    """A peer that cannot be reached, or reads nothing, and has unsent routes must not block every reload."""
    from exabgp.reactor.loop import Reactor

    def pending(self: Any) -> bool:
        peers = (self._peers[name] for name in self.established_peers())
        return any(peer.neighbor.rib.outgoing.pending() for peer in peers if not peer.proto.connection.stuck)

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


def the_router_closes_first() -> None:
    """A session begins anew only when the router has closed its end of the last one, or 1 s has passed.

    ExaBGP connects again within milliseconds of its Cease. A router that takes the new connection before it
    has read the Cease may lose both: FRR forgets a dynamic neighbor and keeps answering on its connection,
    so that all is well to us, and the router has no route. The same happens when the network resets a
    connection and the router has not looked yet: there is no end to wait for, so that it gets the second.
    """
    import socket

    from exabgp.reactor.loop import Reactor
    from exabgp.reactor.peer import ACTION, Peer

    # router → our end, half closed (none: it was lost), and until when
    closing: dict[str, tuple[socket.socket | None, float]] = {}
    original_close, original_run = Peer._close, Peer.run
    original_turn = Reactor.active_peers

    def close(self: Any, *words: Any, **options: Any) -> None:
        connection = self.proto.connection if self.proto else None
        io = connection.io if connection is not None else None
        if io is not None:
            # ExaBGP forgets to: each poll would return at once, for as long as the connection lingers.
            with suppress(KeyError, ValueError):
                self.reactor._poller.unregister(io)
        if connection is not None and self.fsm == self.fsm.ESTABLISHED:
            end = None
            with suppress(OSError):  # the router was faster
                if io is not None:
                    io.shutdown(socket.SHUT_WR)
                    end = io.dup()
            closing[str(self.neighbor["peer-address"])] = end, time.monotonic() + 1
        original_close(self, *words, **options)

    def closed(end: socket.socket | None) -> bool:
        if end is None:
            return False
        try:
            while end.recv(4096):
                pass  # it was still sending
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def turn(self: Any) -> Any:
        """Whether peers are left or not."""
        for router, (end, limit) in tuple(closing.items()):
            if closed(end) or time.monotonic() > limit:
                del closing[router]
                if end is not None:
                    end.close()
        return original_turn(self)

    def run(self: Any) -> Any:
        if self._restart and not self.generator and str(self.neighbor["peer-address"]) in closing:
            return ACTION.LATER
        return original_run(self)

    Peer._close, Peer.run, Reactor.active_peers = close, run, turn


def timers_are_the_peers_own() -> None:
    """ExaBGP's file has no words for two timers of a peer, so they stand in its description.

    Keepalives are sent as often as it says, but at least every third of the negotiated hold time (RFC 4271
    section 4.4), and a connection is tried again after so many seconds instead of ever more rarely.
    Both are read each time: a reload changes them without touching the session. After a loss the first tries
    come SOON: a router that still clears the routes of the last session refuses the next for some moments.
    """
    from exabgp.bgp.timer import SendTimer
    from exabgp.reactor.delay import Delay
    from exabgp.reactor.keepalive import KA
    from exabgp.reactor.peer import Peer

    def number(peer: Any, word: str) -> int:
        found = re.search(rf" {word} (\d+)", str(peer.neighbor["description"] or ""))
        return int(found[1]) if found else 0

    class Paced(SendTimer):
        def __init__(self, session: Any, holdtime: Any, peer: Any) -> None:
            super().__init__(session, holdtime)
            self._third, self._peer = self.keepalive, peer

        def need_ka(self) -> Any:
            self.keepalive = min(number(self._peer, "keepalive") or self._third, self._third)
            return super().need_ka()

    class Patient(Delay):
        def __init__(self, peer: Any) -> None:
            super().__init__()
            self._peer, self._soon = peer, list(SOON)

        def reset(self) -> None:
            super().reset()
            self._soon = list(SOON)

        def increase(self) -> None:
            if self._soon:
                self._next = self._soon.pop(0)
            elif wanted := number(self._peer, "connect"):
                self._next = wanted
            super().increase()

    original_ka, original_peer = KA.__init__, Peer.__init__

    def keepalives(self: Any, session: Any, proto: Any) -> None:
        original_ka(self, session, proto)
        self.send_timer = Paced(session, proto.negotiated.holdtime, proto.peer)

    def peer(self: Any, *words: Any, **options: Any) -> None:
        original_peer(self, *words, **options)
        self._delay = Patient(self)

    KA.__init__, Peer.__init__ = keepalives, peer


def what_a_router_sends_is_not_read() -> None:
    """An UPDATE from a router is counted and dropped unread: we only announce.

    ExaBGP takes each one apart, holds up our own routes meanwhile, and ends the session over an attribute
    that it does not like. It has a way around that, which the word `parsed` closes; notifications need that.
    """
    from exabgp.bgp.message.direction import Direction
    from exabgp.bgp.message.update import Update
    from exabgp.bgp.message.update.attribute import Attributes

    original = Update.unpack_message.__func__  # type: ignore[attr-defined]  # a class method
    unread = Update([], Attributes())

    def unpack(cls: Any, data: bytes, direction: Any, negotiated: Any) -> Any:
        return unread if direction == Direction.IN else original(cls, data, direction, negotiated)

    Update.unpack_message = classmethod(unpack)


def a_session_ends_with_a_cease() -> None:
    """A command of our own, `neighbor A cease SUBCODE`: the NOTIFICATION is sent, graceful restart or not.

    ExaBGP's teardown closes without a word where graceful restart was negotiated, so the router keeps the
    routes: wrong when BFD found the path dead (RFC 5882 section 4.3, RFC 9384). It has no answer, so that it
    may overtake commands whose answers are awaited. The next session waits PAUSE.
    """
    from exabgp.bgp.message import Notify
    from exabgp.reactor.api.command.command import Command
    from exabgp.reactor.peer import ACTION, Peer

    original, original_run = Peer._main, Peer.run
    due: dict[Any, int] = {}  # peer → subcode
    pausing: dict[Any, float] = {}  # peer → until when

    @Command.register("cease", True)  # type: ignore[untyped-decorator]
    def cease(_: Any, reactor: Any, service: str, line: str, use_json: bool) -> bool:
        words = line.split()
        for name in reactor.established_peers():
            peer = reactor._peers[name]
            if str(peer.neighbor["peer-address"]) == words[1]:
                due[peer] = int(words[3])
        return True

    def main(self: Any) -> Any:
        due.pop(self, None)
        pausing.pop(self, None)
        for action in original(self):
            yield action
            if self in due:
                pausing[self] = time.monotonic() + PAUSE
                raise Notify(6, due.pop(self), b"")

    def run(self: Any) -> Any:
        if self in pausing and self._restart and not self.generator:
            if time.monotonic() < pausing[self]:
                return ACTION.LATER
            del pausing[self]
        return original_run(self)

    Peer._main, Peer.run = main, run


def a_peer_is_told_why_it_is_taken_out() -> None:
    """A command of our own, `neighbor A farewell TEXT-IN-HEX`: if the next reload takes the peer out of the
    file, it gets a Cease / Administrative Shutdown with that text (RFC 9003). It has no answer.

    ExaBGP closes the connection of a removed peer without a word: the router's operator sees a lost
    connection, and where graceful restart was negotiated waits for somebody who does not come back.
    """
    from exabgp.bgp.message import Notify
    from exabgp.reactor.api.command.command import Command
    from exabgp.reactor.network.error import NetworkError
    from exabgp.reactor.peer import Peer

    original = Peer.remove
    texts: dict[str, bytes] = {}  # router → text

    @Command.register("farewell", True)  # type: ignore[untyped-decorator]
    def farewell(_: Any, reactor: Any, service: str, line: str, use_json: bool) -> bool:
        words = line.split()
        texts[words[1]] = bytes.fromhex("".join(words[3:]))
        return True

    def remove(self: Any) -> None:
        text = texts.pop(str(self.neighbor["peer-address"]), None)
        if text is not None and self.proto and self.fsm == self.fsm.ESTABLISHED:
            notification = Notify(6, 2, bytes([len(text)]) + text)
            with suppress(NetworkError):
                # At most so many tries: a router that reads nothing is not told.
                list(islice(self.proto.new_notification(notification), 100))
        original(self)

    Peer.remove = remove


def a_bad_header_is_answered() -> None:
    """What is no BGP message ends the session with its NOTIFICATION (RFC 4271 section 6.1).

    ExaBGP reports it to its API with an argument too many; the session ended over that, without a word to the
    router or to us. The NOTIFICATION that it sends then is reported as well, so this report is left out.
    """
    from exabgp.reactor.api.processes import Processes

    original = Processes.notification

    def notification(self: Any, *words: Any) -> Any:
        return None if len(words) == 8 else original(self, *words)

    Processes.notification = notification


def what_is_written_goes_out_whole_and_not_for_ever() -> None:
    """What a connection is given waits in one row until its socket takes it.

    ExaBGP puts a keepalive into the middle of an UPDATE of which the socket took a part: the router reads
    nonsense and ends the session. And a router that sends keepalives but reads nothing is borne with for
    ever, at a whole core: it is given up after twice the hold time (RFC 9687), and looked at now and then.
    """
    import errno
    import socket
    import struct

    from exabgp.bgp.message import Notify
    from exabgp.reactor.keepalive import KA
    from exabgp.reactor.network.connection import Connection
    from exabgp.reactor.network.error import NetworkError
    from exabgp.reactor.peer import ACTION, Peer

    original_init, original_ka, original_run = Connection.__init__, KA.__init__, Peer.run

    def init(self: Any, *words: Any) -> None:
        original_init(self, *words)
        self.unsent, self.stuck, self.patience = bytearray(), 0.0, 0

    def flush(self: Any) -> None:
        try:
            while self.unsent and self.io:
                del self.unsent[: self.io.send(self.unsent)]
                self.stuck = 0.0
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR):
                self.stuck = self.stuck or time.monotonic()
                return
            self.close()
            raise NetworkError(f"problem while writing to the network ({error})") from None

    def writer(self: Any, data: bytes) -> Any:
        self.unsent += data
        while True:
            flush(self)
            if self.io and self.stuck and self.patience and time.monotonic() - self.stuck > self.patience:
                self.io.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close()
                raise Notify(8, 0, "the router reads nothing")
            if not self.io or len(self.unsent) <= AHEAD:
                break
            yield False
        yield True

    def keepalives(self: Any, session: Any, proto: Any) -> None:
        original_ka(self, session, proto)
        proto.connection.patience = 2 * int(proto.negotiated.holdtime) or SEND_HOLD

    def run(self: Any) -> Any:
        action = original_run(self)
        connection = self.proto.connection if self.proto else None
        if connection is None or not connection.unsent:
            return action
        try:
            flush(connection)
        except NetworkError:
            return action  # the next turn meets it as well
        return ACTION.LATER if len(connection.unsent) > AHEAD and action == ACTION.NOW else action

    Connection.__init__, Connection.flush, Connection.writer = init, flush, writer
    KA.__init__, Peer.run = keepalives, run


def mend() -> None:
    timers_do_not_jump()
    last_command_wins()
    reload_waits_for_living_peers_only()
    flush_is_not_a_refresh()
    reload_keeps_the_local_address()
    a_lost_helper_ends_no_session()
    the_router_closes_first()
    timers_are_the_peers_own()
    what_a_router_sends_is_not_read()
    a_session_ends_with_a_cease()
    a_peer_is_told_why_it_is_taken_out()
    a_bad_header_is_answered()
    what_is_written_goes_out_whole_and_not_for_ever()


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
