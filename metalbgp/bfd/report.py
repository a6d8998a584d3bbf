"""One session in words: the row that the parent hears, and people read. Field names are API (docs/bfd.md).

In:  a session with its socket, the problem of the port it is heard on. Out: a dict for JSON.
"""

import errno
from collections.abc import Iterator
from typing import Any, Final

from metalbgp.bfd.live import Live
from metalbgp.bfd.values import Floor
from metalbgp.bfd.wire import DIAGNOSTICS, Drop, State

NOTHING: Final[dict[str, Any]] = {  # of a session that was refused before it began
    "state": "Down",
    "since": 0.0,
    "diagnostic": 0,
    "remote_state": "Down",
    "remote_diagnostic": 0,
    "transmit": 0,
    "receive": 0,
    "detection": 0,
    "multiplier": 0,
    "flaps": 0,
    "local": "",
    "failed": False,
    "why": "",
}


def row(live: Live, deaf: OSError | None, floor: Floor) -> dict[str, Any]:
    session, remote = live.session, live.session.remote
    return {
        "state": session.state.word,
        "since": round(live.since, 3),
        "diagnostic": session.diagnostic,
        "remote_state": remote.state.word if remote else State.DOWN.word,
        "remote_diagnostic": remote.diagnostic if remote else 0,
        "transmit": session.transmit // 1000,
        "receive": session.receive // 1000,
        "detection": session.detection // 1000,
        "multiplier": remote.multiplier if remote else 0,
        "flaps": session.flaps,
        "local": live.address,
        "failed": live.failed,
        "why": "; ".join(reasons(live, deaf, floor)),
    }


def reasons(live: Live, deaf: OSError | None, floor: Floor) -> Iterator[str]:
    """What is wrong, the nearest to us first."""
    if deaf is not None:
        yield _deaf(live, deaf)
    if live.problem is not None:
        yield _mute(live, live.problem)
    if live.refused is not None:
        yield _refused(live, live.refused)
    if live.session.state is not State.UP:
        yield _not_up(live)
    if live.offered != live.wanted:
        yield _slower(live, floor)


def _deaf(live: Live, problem: OSError) -> str:
    port = 4784 if live.wanted.multihop else 3784
    if problem.errno == errno.EADDRINUSE:
        return f"UDP port {port} of this node is in use: another program speaks BFD here, stop one of the two"
    return f"UDP port {port} cannot be opened: {problem.strerror}"


def _mute(live: Live, problem: OSError) -> str:
    wanted = live.wanted
    if isinstance(problem, ConnectionRefusedError):
        return f"{wanted.peer} says that nothing listens on its UDP port: enable BFD there"
    if problem.errno == errno.EADDRNOTAVAIL and wanted.local:
        return f"{wanted.local} is not an address of this node (yet)"
    if problem.errno == errno.ENODEV and wanted.interface:
        return f"this node has no interface {wanted.interface} (yet)"
    if problem.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN):
        return f"no way to {wanted.peer}: {problem.strerror}"
    return f"cannot send: {problem.strerror or problem}"


def _refused(live: Live, drop: Drop) -> str:
    wanted = live.wanted
    if drop is Drop.AUTHENTICATED:
        return f"packets of {wanted.peer} are authenticated, which is not supported: take it away there"
    if drop is Drop.TTL and wanted.multihop:
        return (
            f"packets of {wanted.peer} come with TTL {live.ttl}, less than minimumTtl {wanted.minimum_ttl}:"
            f" more routers lie between than that leaves"
        )
    if drop is Drop.TTL:
        return (
            f"packets of {wanted.peer} come with TTL {live.ttl}, not 255: they were not sent on this link;"
            f" multihop sessions need ebgpMultiHop"
        )
    return f"packets of {wanted.peer} are refused: {drop}"


def _not_up(live: Live) -> str:
    session, peer = live.session, live.wanted.peer
    remote, diagnostic = session.remote, DIAGNOSTICS.get(session.diagnostic, "unknown diagnostic")
    if remote is None:
        before = f" ({diagnostic})" if session.failed else ""
        return f"nothing is heard from {peer}{before}"
    if remote.state is State.ADMIN_DOWN:
        return f"{peer} is administratively down"
    if session.failed and remote.diagnostic:
        why = DIAGNOSTICS.get(remote.diagnostic, f"diagnostic {remote.diagnostic}")
        return f"{peer} said {remote.state.word}: {why}"
    return f"{peer} says {remote.state.word}, this node {session.state.word}"


def _slower(live: Live, floor: Floor) -> str:
    wanted, offered = live.wanted, live.offered
    asked = f"{wanted.receive}/{wanted.transmit} ms × {wanted.multiplier}"
    given = f"{offered.receive}/{offered.transmit} ms × {offered.multiplier}"
    if floor.multiplier > 1:
        return (
            f"{asked} is asked for, {given} offered: without a realtime class this node keeps no less"
            f" (docs/bfd.md)"
        )
    return f"{asked} is asked for, {given} offered: this node promises no less than {floor.interval} ms"
