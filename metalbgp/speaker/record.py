"""What became of what this node wants, as the parent tells it: sessions, routes, problems. Pure.

In:  the parent's messages (journal, routes, session, problem) and our own wishes.
Out: NodeReport for the NodeState, Snapshot for the metrics, told() for the comparison after a reconnect.
Elsewhere: the states' meaning is bgp/journal.py; when a report is written is status.py.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from metalbgp.bgp.values import Neighbor
from metalbgp.model.configuration import Peer
from metalbgp.model.orders import HOLD, Order
from metalbgp.model.reasons import MaximumReached, Reason, ShutByOrder, WithdrawalsHeld
from metalbgp.model.report import (
    DrainReport,
    DutyReport,
    NodeReport,
    OrderReport,
    ProbeReport,
    RouteReport,
    SessionReport,
    UnservedReport,
)
from metalbgp.model.routes import Attributes
from metalbgp.speaker.announcer import Announcer, RouteKey
from metalbgp.speaker.guard import Guard
from metalbgp.speaker.metrics import Answered, Snapshot
from metalbgp.speaker.neighbors import RefusedPeer

ORDERS = 250  # in a NodeState; those after the first 50 without reason and author
SHOWN = 50  # routes that wait, and duties, in a NodeState: it stays under 64 KiB (contracts.md)
PROBLEMS = 10
PROBLEM_AGE = 600.0  # seconds a problem is shown after it was last heard of: nobody tells us that it is over
CONFIRMED = "confirmed"
GONE = "withdrawn"


class Layer2(Protocol):
    """What the reflex says (reflex/client.py)."""

    @property
    def state(self) -> Mapping[str, Any] | None: ...
    @property
    def owned(self) -> Mapping[str, Any]: ...
    @property
    def counters(self) -> Mapping[str, Mapping[str, Any]]: ...


class Row(Struct):
    """One route, as last heard."""

    attributes: Attributes | None
    state: str = "wanted"
    since: str = ""


class Record:
    def __init__(self, node: str, guard: Guard | None = None) -> None:
        self._guard = guard or Guard()
        self._node = node
        self.sessions: dict[str, dict[str, Any]] = {}  # by the peer's address
        self.routes: dict[RouteKey, Row] = {}
        self._problems: dict[str, float] = {}  # words → when heard last, oldest first
        self.child_runs = False
        self.updates: Counter[str] = Counter()  # UPDATE confirmations by peer
        self._counts: Counter[tuple[str, str]] = Counter()  # (peer, state)

    # ------------------------------------------------------------------ what is heard

    def journal(self, journal: Mapping[str, Any]) -> None:
        """Everything anew."""
        self.child(journal["exabgp"])
        self.sessions = {session["peer"]: session for session in journal["sessions"]}
        self.routes.clear()
        self._counts.clear()
        for peer, prefix, wanted, _told, _confirmed, state, since in journal["routes"]:
            self._put((peer, prefix), Row(attributes(wanted), state, moment(since)))

    def child(self, exabgp: Mapping[str, Any]) -> None:
        self.child_runs = bool(exabgp["pid"])

    def told(self) -> dict[RouteKey, Attributes]:
        """What the parent works towards, by its own word."""
        return {key: row.attributes for key, row in self.routes.items() if row.attributes is not None}

    def want(self, peer: str, prefix: str, wanted: Attributes | None) -> None:
        key = (peer, prefix)
        before = self.routes.get(key)
        if before is None and wanted is None:
            return  # the parent knows nothing of it and has nothing to tell
        self._put(key, Row(wanted, before.state if before else "wanted", before.since if before else ""))

    def route(self, peer: str, prefix: str, state: str, since: float) -> None:
        key = (peer, prefix)
        before = self.routes.get(key)
        wanted = before.attributes if before else None
        if state == CONFIRMED:
            self.updates[peer] += 1
        if state == GONE and wanted is None:
            self._drop(key)
        else:
            self._put(key, Row(wanted, state, moment(since)))

    def session(self, session: Mapping[str, Any]) -> None:
        if session["state"] == "Removed":
            self.sessions.pop(session["peer"], None)
        else:
            self.sessions[session["peer"]] = dict(session)

    def problem(self, problem: Mapping[str, Any], now: float) -> None:
        text = str(problem.get("text", problem))
        self._problems.pop(text, None)
        self._problems[text] = now
        while len(self._problems) > PROBLEMS:
            del self._problems[next(iter(self._problems))]

    def problems(self, now: float) -> tuple[str, ...]:
        return tuple(text for text, heard in self._problems.items() if now - heard <= PROBLEM_AGE)

    def _put(self, key: RouteKey, row: Row) -> None:
        self._drop(key)
        self.routes[key] = row
        self._counts[key[0], row.state] += 1

    def _drop(self, key: RouteKey) -> None:
        before = self.routes.pop(key, None)
        if before is not None:
            self._counts[key[0], before.state] -= 1

    # ------------------------------------------------------------------ what is reported

    def session_reports(self, announcer: Announcer) -> tuple[SessionReport, ...]:
        reports = [self._session(neighbor, announcer) for neighbor in announcer.neighbors]
        reports += [refused_report(one) for one in announcer.refused_peers]
        return tuple(sorted(reports, key=lambda report: report.peer))

    def _session(self, neighbor: Neighbor, announcer: Announcer) -> SessionReport:
        key = neighbor.key
        heard = self.sessions.get(key, {})
        bfd = heard.get("bfd") or {}
        held, beyond = self._guard.held(key), self._guard.beyond(key)
        confirmed = self._counts[key, CONFIRMED]
        waiting = sum(self._counts[key, state] for state in ("wanted", "sent", "waiting", "refused"))
        return SessionReport(
            peer=announcer.peer_name(key),
            address=key,
            port=neighbor.port,
            my_asn=neighbor.local_as,
            peer_asn=neighbor.peer_as or heard.get("peer_asn", 0),
            state=heard.get("state", "Idle"),
            since=moment(heard["since"]) if heard else "",
            families=tuple(heard.get("families", ())),
            routes_wanted=confirmed + waiting + len(beyond),
            routes_confirmed=confirmed,
            graceful_restart=bool(heard.get("graceful_restart", False)),
            last_error=heard.get("last_error", ""),
            tries=heard.get("tries", 0),
            reason=heard.get("reason", ""),
            remedy=heard.get("remedy", ""),
            hold_time=heard.get("hold_time", 0),
            capabilities=tuple(heard.get("capabilities", ())),
            flaps=heard.get("flaps", 0),
            ended=moment(heard["ended"]) if heard.get("ended") else "",
            ended_why=heard.get("ended_why", ""),
            learned=heard.get("address", "") if neighbor.unnumbered else "",
            held=len(held),
            beyond=len(beyond),
            bfd="" if neighbor.bfd is None else bfd.get("state", "unknown"),
            bfd_why=bfd.get("why", ""),
            bfd_detection=bfd.get("detection", 0),
            bfd_flaps=bfd.get("flaps", 0),
        )

    def report(self, announcer: Announcer, l2: Layer2, moment: float, **about: Any) -> NodeReport:
        """The NodeState's status. `moment`: monotonic; `about`: pod, version, updated, ready."""
        sessions = self.session_reports(announcer)
        owned = sorted(l2.owned)
        guarded = [f"BGPPeer {peer.name}: {why.explain()}" for peer, why in self.guarded(announcer)]
        itself = (l2.state or {}).get("self", {})
        return NodeReport(
            node=self._node,
            configuration=announcer.configuration.sequence if announcer.configuration else 0,
            realtime=str((l2.state or {}).get("realtime", "")),
            layer2=str(itself.get("state", "")),
            layer2_why=str(itself.get("why", "")),
            candidate_for=len(announcer.table.duties()),
            addresses=len(announcer.vips),
            routes_wanted=sum(session.routes_wanted for session in sessions),
            routes_confirmed=sum(session.routes_confirmed for session in sessions),
            sessions=sessions,
            unconfirmed=self._unconfirmed(announcer),
            duties=tuple(
                DutyReport(
                    address=address,
                    services=services_of(announcer, address),
                    interfaces=announcer.table.interfaces(address) or (),
                )
                for address in owned[:SHOWN]
            ),
            duties_total=len(owned),
            drain=drain_report(announcer),
            orders=order_reports(announcer.orders_here),
            orders_total=len(announcer.orders_here),
            unserved=tuple(UnservedReport(*one) for one in sorted(announcer.pods.ended)[:SHOWN]),
            problems=(*guarded, *self.problems(moment), *l2_problems(l2))[:PROBLEMS],
            **about,
        )

    def guarded(self, announcer: Announcer) -> Iterator[tuple[Peer, Reason]]:
        """What the limits of BGPPeers keep from the wire."""
        for peer in announcer.peers:
            held, beyond = self._guard.held(peer.key), self._guard.beyond(peer.key)
            limits = self._guard.limits(peer.key)
            if held:
                window = round(limits.window)
                yield (
                    peer,
                    WithdrawalsHeld(peer=peer.name, count=len(held), limit=limits.withdrawals, window=window),
                )
            if beyond:
                yield peer, MaximumReached(peer=peer.name, count=len(beyond), most=limits.most)

    def _unconfirmed(self, announcer: Announcer) -> tuple[RouteReport, ...]:
        if all(count <= 0 or state == CONFIRMED for (_, state), count in self._counts.items()):
            return ()
        waiting = ((key, row) for key, row in self.routes.items() if row.state not in (CONFIRMED, GONE))
        found = []
        for (peer, prefix), row in waiting:
            name = announcer.peer_name(peer)
            why = announcer.table.why(name, prefix)
            found.append(
                RouteReport(
                    prefix=prefix,
                    peer=name,
                    state=row.state,
                    since=row.since,
                    services=why.services if why else (),
                )
            )
            if len(found) == SHOWN:
                break
        return tuple(found)

    def snapshot(self, announcer: Announcer, l2: Layer2, view_age: float) -> Snapshot:
        """What the metrics show now."""
        announced = {
            (service, "bgp", address)
            for _, why in announcer.table.routes()
            for service in why.services
            for address in why.addresses
        } | {
            (service, "layer2", address)
            for address in l2.owned
            for service in services_of(announcer, address)
        }
        return Snapshot(
            node=self._node,
            announced=tuple(sorted(announced)),
            sessions=self.session_reports(announcer),
            updates=self.updates,
            answered={
                address: Answered(
                    requests=count.get("requests", 0),
                    replies=count.get("replies", 0),
                    gratuitous=count.get("gratuitous", 0),
                )
                for address, count in l2.counters.items()
                if count.get("here")
            },
            realtime=is_realtime(l2.state),
            l2_state=str((l2.state or {}).get("self", {}).get("state", "")),
            l2_candidate_for=len(announcer.table.duties()),
            l2_owned=len(l2.owned),
            l2_members={one["node"]: one["state"] for one in (l2.state or {}).get("members", ())},
            view_age=view_age,
            unserved=len(announcer.pods.ended),
            orders=Counter(one.action for one in announcer.orders_here),
        )


def moment(seconds: float) -> str:
    """Seconds since 1970, as the parent says them, in the words of Kubernetes."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def attributes(wanted: Mapping[str, Any] | None) -> Attributes | None:
    """Attributes as parent.sock carries them."""
    return None if wanted is None else msgspec.convert(wanted, Attributes)


def services_of(announcer: Announcer, address: str) -> tuple[str, ...]:
    vip = announcer.vips.get(address)
    return tuple(sorted(key for key, holder in vip.holders.items() if holder.l2)) if vip else ()


def l2_problems(l2: Layer2) -> tuple[str, ...]:
    return tuple(f"layer 2: {text}" for text in (l2.state or {}).get("problems", ()))


def refused_report(refused: RefusedPeer) -> SessionReport:
    """A BGPPeer that cannot run on this node: a row with its reason, not a gap."""
    peer = refused.peer
    return SessionReport(
        peer=peer.name,
        address=peer.key,
        port=peer.port,
        my_asn=peer.local_asn or peer.my_asn,
        peer_asn=peer.peer_asn,
        state="Shut" if isinstance(refused.why, ShutByOrder) else "Refused",
        last_error=refused.why.explain(),
        reason=refused.why.name,
        remedy=refused.why.remedy(),
    )


def probe_reports(reflex: Mapping[str, Any]) -> tuple[ProbeReport, ...]:
    """What was found on the segment, by the reflex's own words."""
    return tuple(
        ProbeReport(
            address=one["address"],
            uid=one["token"],
            done=one["done"],
            interface=one["interface"],
            mac=one["mac"],
            failed=one["failed"],
        )
        for one in reflex.get("probes", ())
    )


def drain_report(announcer: Announcer) -> tuple[DrainReport, ...]:
    found, alone = announcer.draining, announcer.last_in_l2()
    if not found.active and not alone:
        return ()
    made = DrainReport(
        why=found.why or min(alone.values()),
        withdrawn=sum(map(len, found.gone.values())),
        eased=sum(why.leaving for _, why in announcer.table.routes()),
        stays=tuple(sorted(found.stays)[:PROBLEMS]),
        answers=tuple(sorted(alone)[:PROBLEMS]),
    )
    return (made,)


def order_reports(found: Sequence[Order]) -> tuple[OrderReport, ...]:
    """Whoever plans for this node needs all of them. Those that no object has stand first."""
    first = sorted(found, key=lambda one: (not one.local, one.action == HOLD, one.name))
    made = [order_report(one) for one in first[:ORDERS]]
    return (*made[:SHOWN], *(msgspec.structs.replace(one, reason="", author="") for one in made[SHOWN:]))


def order_report(one: Order) -> OrderReport:
    return OrderReport(
        name=one.name,
        action=one.action,
        target=one.target,
        node=one.node,
        reason=one.reason[:200],  # 50 of them must fit
        author=one.author,
        expires=one.expires,
        created=one.created,
        local=one.local,
    )


def is_realtime(reflex: Mapping[str, Any] | None) -> bool:
    return str((reflex or {}).get("realtime", "")).upper() in ("FIFO", "DEADLINE")
