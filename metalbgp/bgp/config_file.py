"""The file that the ExaBGP child runs with, written from checked neighbours. Pure.

In:  neighbours (values.check has proven every value), the helper's command, a generation number.
Out: the text. The generation stands in each description: `show neighbor configuration` repeats it, which
     is how a reload is proven to have happened (ExaBGP answers `done` also when it drops one). Behind it
     stand the timers that ExaBGP has no words for.
     And `refusal`: why ExaBGP's check of it said no.
Elsewhere: exabgp-conf/example.conf is this text with comments, and a test keeps both equal in meaning.
"""

import re
from collections.abc import Iterable

from metalbgp.bgp.values import Neighbor

PROCESS = "metalbgp"
LONGEST_REFUSAL = 200  # it stands in a NodeState, once for each peer


def mark(generation: int) -> str:
    return f"metalbgp {generation}"


def render(neighbors: Iterable[Neighbor], helper: str, generation: int) -> str:
    """The whole file. `helper` is a command line without quotes or spaces inside words (it comes from us)."""
    parts = [f"process {PROCESS} {{\n  run {helper};\n  encoder json;\n}}\n"]
    parts += [_neighbor(n, generation) for n in neighbors]
    return "\n".join(parts)


def _timers(n: Neighbor) -> str:
    """For launch.py: ExaBGP's file has no fields for them."""
    keepalive = f" keepalive {n.keepalive}" if n.keepalive else ""
    return keepalive + (f" connect {n.connect_retry}" if n.connect_retry else "")


def proves(line: str, generation: int) -> bool:
    """Whether a line of `show neighbor configuration` is a description of this generation."""
    return line.startswith((f'description "{mark(generation)}"', f'description "{mark(generation)} '))


def _neighbor(n: Neighbor, generation: int) -> str:
    lines = [
        f'description "{mark(generation)}{_timers(n)}";',
        f"router-id {n.router_id};",
        f"local-address {n.local_address or 'auto'};",
        f"local-as {n.local_as};",
        f"peer-as {n.peer_as};",
        f"connect {n.port};",
        f"hold-time {n.hold_time};",
        "manual-eor true;",  # ours follows the replay: ExaBGP's own would flush the stale routes too early
        "adj-rib-in false;",
    ]
    if n.listen:
        lines.append(f"listen {n.listen};")
    if n.passive:
        lines.append("passive true;")
    if n.interface:
        lines.append(f"source-interface {n.interface};")
    if n.ttl_security:
        lines += ["outgoing-ttl 255;", "incoming-ttl 255;"]
    if n.password_base64 is not None:
        lines += [f'md5-password "{n.password_base64}";', "md5-base64 true;"]
    lines.append("family { " + " ".join(f"{f} unicast;" for f in n.families) + " }")
    graceful = (
        f"graceful-restart {n.graceful_restart};" if n.graceful_restart else "graceful-restart disable;"
    )
    hops = "nexthop enable; " if n.extended_next_hop else ""
    lines.append(f"capability {{ asn4 enable; route-refresh enable; {hops}{graceful} }}")
    if n.extended_next_hop:
        lines.append("nexthop { ipv4 unicast ipv6; }")
    lines.append(
        f"api {{ processes [ {PROCESS} ]; neighbor-changes; negotiated; "
        "receive { parsed; notification; open; } send { parsed; update; notification; } }"
    )
    return f"neighbor {n.address} {{\n" + "".join(f"  {line}\n" for line in lines) + "}\n"


def refusal(said: str, code: int) -> str:
    """Why `exabgp validate` ended with this code: its last line, behind the statement that it is about."""
    lines = [" ".join(line.split()) for line in said.splitlines() if line.strip()]
    if not lines:
        return f"exabgp validate ended with {code}"
    about = [found[1] for line in lines if (found := re.match(r"line \d+: (.*?) ?;?$", line))]
    return ": ".join((*about[-1:], lines[-1].removeprefix("error message: ")))[:LONGEST_REFUSAL]
