"""The wires: one segment with router, control plane and nodes; a client behind the router.

In:  Settings.
Out: network namespaces, joined by veth pairs that are created inside them, so that nothing but the
     namespaces' names is ever visible in the host's own namespace.

         <lab>-client ── 10.99.0.0/24 ── <lab>-router ─┐
                                         <lab>-cp     ─┤ br0 in <lab>-net, 10.252.252.0/24
                                         <lab>-n1…n3  ─┘
Elsewhere: the numbers in settings.py; the pod network inside a node is CNI's bridge, see nodes.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lab.settings import CLIENT, CONTROL, NODES, OUTSIDE, ROUTER, Host, Settings
from lab.shell import NETNS, inside, run

_EVERYWHERE: Final = {
    # Addresses are usable at once: nothing here ever takes one twice.
    "net.ipv6.conf.all.accept_dad": "0",
    "net.ipv6.conf.default.accept_dad": "0",
    "net.ipv6.conf.default.accept_ra": "0",
    # Loose: packets to a service may come in where the way back does not point.
    "net.ipv4.conf.all.rp_filter": "2",
    "net.ipv4.conf.default.rp_filter": "2",
}
_FORWARDING: Final = {
    "net.ipv4.ip_forward": "1",
    "net.ipv6.conf.all.forwarding": "1",
    "net.ipv6.conf.default.forwarding": "1",
}
# Connections, not only hosts, are spread over the next hops.
_ROUTER: Final = {"net.ipv4.fib_multipath_hash_policy": "1", "net.ipv6.fib_multipath_hash_policy": "1"}


def create(settings: Settings) -> None:
    """Make all namespaces and wires."""
    for host in settings.hosts:
        run("ip", "netns", "add", settings.namespace(host))
        router = _ROUTER if host == ROUTER.name else {}
        forward = _FORWARDING if host not in ("net", CLIENT.name) else {}
        _sysctl(settings.namespace(host), {**_EVERYWHERE, **forward, **router})
    on_segment = (ROUTER, CONTROL, *NODES)
    _ip(
        settings,
        "net",
        "link set lo up",
        "link add br0 type bridge forward_delay 0 mcast_snooping 0",
        "link set br0 up",
        *(
            line
            for each in on_segment
            for line in (
                f"link add {each.name} type veth peer name eth0 netns {settings.namespace(each.name)}",
                f"link set {each.name} master br0 up",
            )
        ),
    )
    _ip(
        settings,
        ROUTER.name,
        f"link add eth1 type veth peer name eth0 netns {settings.namespace(CLIENT.name)}",
    )
    for machine in on_segment:
        _address(settings, machine.name, "eth0", machine)
    _address(settings, ROUTER.name, "eth1", OUTSIDE)
    _address(settings, CLIENT.name, "eth0", CLIENT)
    for name, via in ((CLIENT.name, OUTSIDE), *((host.name, ROUTER) for host in (CONTROL, *NODES))):
        _ip(
            settings, name, f"route add default via {via.address}", f"-6 route add default via {via.address6}"
        )
    for machine in on_segment:
        others = [node for node in NODES if node.name != machine.name]
        _ip(
            settings,
            machine.name,
            *(f"route add {node.pods} via {node.address}" for node in others),
            *(f"-6 route add {node.pods6} via {node.address6}" for node in others),
        )


def link(settings: Settings, host: str, up: bool) -> None:
    """Cut a host off, or join it again, at the segment's end of its wire: the host itself sees no carrier."""
    _ip(settings, "net", f"link set {host} {'up' if up else 'down'}")


def remove(settings: Settings) -> None:
    """Remove the namespaces; what is in them goes with them."""
    for host in settings.hosts:
        if (NETNS / settings.namespace(host)).exists():
            run("ip", "netns", "del", settings.namespace(host), check=False)
            (NETNS / settings.namespace(host)).unlink(
                missing_ok=True
            )  # made, but not mounted yet, when `up` died


def _address(settings: Settings, name: str, device: str, host: Host) -> None:
    four, six = host.cidrs
    _ip(
        settings,
        name,
        "link set lo up",
        f"link set {device} up",
        f"address add {four} dev {device}",
        f"-6 address add {six} dev {device} nodad",
    )


def _ip(settings: Settings, host: str, *lines: str) -> None:
    """Several `ip` commands in one namespace; those of IPv6 are a batch of their own."""
    for flag, chosen in (
        ("-4", [line for line in lines if not line.startswith("-6 ")]),
        ("-6", [line.removeprefix("-6 ") for line in lines if line.startswith("-6 ")]),
    ):
        if chosen:
            run("ip", flag, "-n", settings.namespace(host), "-batch", "-", input="\n".join(chosen) + "\n")


def _sysctl(namespace: str, values: Mapping[str, str]) -> None:
    script = "\n".join(f"echo {value} > /proc/sys/{key.replace('.', '/')}" for key, value in values.items())
    run(*inside(namespace, ["sh", "-e"]), input=script)
