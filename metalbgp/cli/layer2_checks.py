"""The doctor's checks of L2: does a packet for the address reach us, and us alone? Pure.

In:  what the reflexes say, with their nodes' kernel settings (reflex/host.py); VirtualIPs, configuration.
Out: Findings; equal ones of several nodes are one.
Elsewhere: asking is doctor.py; kube-proxy's own setting and other load balancers are checks.py.

The reflex answers by raw frames, whatever the kernel is told: of its settings only those matter that make the
kernel answer as well, or drop what comes. So arp_ignore and arp_announce are harmless where no address of
ours is local (any kube-proxy mode but ipvs); IPv6 has neither, and answers only for what stands on the
interface itself.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from metalbgp.cli.checks import Finding, Verdict
from metalbgp.cli.l2_rows import Known, in_l2, layer2
from metalbgp.cli.reflexes import Host, Reflex
from metalbgp.cli.render import listed, many
from metalbgp.model.configuration import L2Advertisement
from metalbgp.model.selectors import any_matches

IPVS: Final = "kube-ipvs0"
ANYWHERE: Final = (0, 3)  # arp_ignore: answers for addresses of other interfaces, too
NEVER: Final = 8
NET_RAW: Final = 1 << 13

Told = tuple[str, Verdict, str, tuple[str, ...]]  # check, verdict, words, remedy


def layer2_checks(known: Known) -> Iterator[Finding]:
    if not known.scene.configuration.l2_advertisements:
        yield Finding("l2", "ok", "there is no L2Advertisement, so nothing is answered for")
        return
    if not known.reflexes.speaking:
        why = known.reflexes.note or "no speaker answers"
        yield Finding("l2", "warn", f"not looked at on the nodes: {why}")
        return
    wrong = [*_owners(known), *_of_nodes(known)]
    if all(one.verdict == "ok" for one in wrong):
        count = sum(in_l2(vip) for vip in known.claims)
        asked = many(len(known.reflexes.speaking), "node")
        yield Finding(
            "l2", "ok", f"{many(count, 'address', 'addresses')} in L2, {asked} asked: nothing is in the way"
        )
    yield from wrong


def _owners(known: Known) -> Iterator[Finding]:
    found = layer2(known)
    for one in found.nodes:
        for text in one.problems:
            yield Finding("l2", "bad", f"{one.node}: {text}", (one.remedy,) if one.remedy else ())
        for text in one.warnings:
            yield Finding("l2", "warn", f"{one.node}: {text}")
    wrong = [f"{row.address}: {text}" for row in found.addresses for text in row.problems]
    for text in wrong[:3]:
        yield Finding(
            "l2", "bad", text, (f"metalbgp l2 {text.partition(': ')[0]}, and l2 probe for the wire",)
        )
    if len(wrong) > 3:
        yield Finding("l2", "bad", f"and {len(wrong) - 3:,} more", ("metalbgp l2 --problems",))


def _of_nodes(known: Known) -> Iterator[Finding]:
    """Findings that differ in nothing but the node are one."""
    where: dict[Told, list[str]] = {}
    for one in known.reflexes.speaking:
        for told in (*_interfaces(one, known), *_kernel(one, known)):
            where.setdefault(told, []).append(one.node)
    for (check, verdict, text, remedy), nodes in where.items():
        yield Finding(check, verdict, f"{listed(nodes)}: {text}", remedy)
    yield from _keys(known)


def _keys(known: Known) -> Iterator[Finding]:
    by_key: dict[str, list[str]] = {}
    for one in known.reflexes.speaking:
        if one.state.myself.key:
            by_key.setdefault(one.state.myself.key, []).append(one.node)
    if len(by_key) > 1:
        groups = "; ".join(f"{key} on {listed(nodes)}" for key, nodes in sorted(by_key.items()))
        text = f"nodes sign heartbeats with different keys, and do not hear each other: {groups}"
        again = f"kubectl get secret -n {known.installation} metalbgp-speaker; after a rotation wait a minute"
        yield Finding("l2", "bad", text, (again,))


# ------------------------------------------------------------------ interfaces


def here(one: Reflex, known: Known) -> list[L2Advertisement]:
    """The L2Advertisements that select the node."""
    node = known.scene.nodes.get(one.node)
    if node is None:
        return []
    wanted = known.scene.configuration.l2_advertisements
    return [each for each in wanted if any_matches(each.node_selectors, node.labels)]


def _interfaces(one: Reflex, known: Known) -> Iterator[Told]:
    fit = set(one.state.interfaces)
    for advertisement in here(one, known):
        lacking = [name for name in advertisement.interfaces if name not in fit]
        if not lacking:
            continue
        verdict: Verdict = "warn" if len(lacking) < len(advertisement.interfaces) else "bad"
        for name in lacking:
            there = one.host is not None and name in one.host.links
            why = (
                "cannot be used: it has no link, is a port of a bridge or bond, or is excluded by name"
                if there
                else "is not there"
            )
            yield (
                "interfaces",
                verdict,
                f"{name}, which L2Advertisement {advertisement.name} names, {why}",
                (
                    f"ip -d link show {name} on the node; or nodeSelectors, interfaces of the object",
                    *(("the names that are left out: ConfigMap metallb-excludel2",) if there else ()),
                ),
            )


def used(one: Reflex, known: Known) -> list[str]:
    """Interfaces on which this node may answer: those that an advertisement allows."""
    allowed = [each.interfaces for each in here(one, known)]
    return [name for name in one.state.interfaces if any(not names or name in names for names in allowed)]


# ------------------------------------------------------------------ the kernel


def _kernel(one: Reflex, known: Known) -> Iterator[Told]:
    host = one.host
    if host is None:
        return
    names = used(one, known)
    addresses = [vip.address for vip in known.claims if in_l2(vip)]
    yield from _rights(host, known.installation)
    yield from _local(host, names, addresses)
    yield from _ipvs(host, names)
    yield from _proxy(host, names)
    if any(":" not in each for each in addresses):
        yield from _reverse_path(host, names)
    yield from _forwarding(host, addresses)


def _rights(host: Host, installation: str) -> Iterator[Told]:
    if host.capabilities and not int(host.capabilities, 16) & NET_RAW:
        fix = f"kubectl edit daemonset -n {installation} speaker   (capabilities: add: [NET_RAW, SYS_NICE])"
        yield "l2", "bad", "the speaker lacks capability NET_RAW: it cannot answer ARP or NDP", (fix,)


def _local(host: Host, names: Sequence[str], addresses: Sequence[str]) -> Iterator[Told]:
    """An address of a Service that stands on an interface: by hand, by keepalived, left over by others."""
    ours = set(addresses)
    for address, interface in host.addresses:
        if address not in ours or interface == IPVS:
            continue
        answers = [name for name in names if _kernel_answers(host, name, address, interface)]
        if answers:
            where = ", ".join(answers)
            text = f"{address} stands on {interface}, so the kernel answers for it on {where} as well"
            yield "kernel", "bad", text, (f"on the node: ip address del {address} dev {interface}",)


def _kernel_answers(host: Host, segment: str, address: str, interface: str) -> bool:
    if ":" in address:
        return interface == segment
    ignore = host.setting(segment, "arp_ignore")
    return ignore in ANYWHERE or (interface == segment and ignore < NEVER)


def _ipvs(host: Host, names: Sequence[str]) -> Iterator[Told]:
    """kube-ipvs0 has every address of every Service; strictARP is how kube-proxy sets these two."""
    if IPVS not in host.links:
        return
    strict = (
        "ipvs.strictARP: true for kube-proxy sets both (see the line kube-proxy), or sysctl -w on the node: "
    )
    loud = [name for name in names if host.setting(name, "arp_ignore") in ANYWHERE]
    if loud:
        where = ", ".join(loud)
        text = f"kube-ipvs0 is there and arp_ignore is 0 on {where}: the kernel answers for every address"
        yield "kernel", "bad", text, (f"{strict}net.ipv4.conf.all.arp_ignore=1",)
    teaching = [name for name in names if host.setting(name, "arp_announce") < 2]
    if teaching:
        text = (
            f"kube-ipvs0 is there and arp_announce is below 2 on {', '.join(teaching)}: "
            "the kernel's own questions may teach neighbours that an address lives here"
        )
        yield "kernel", "warn", text, (f"{strict}net.ipv4.conf.all.arp_announce=2",)


def _proxy(host: Host, names: Sequence[str]) -> Iterator[Told]:
    on = [name for name in names if host.setting(name, "proxy_arp")]
    if on:
        where = ", ".join(on)
        text = f"proxy_arp is on for {where}: the kernel answers for every address that it routes elsewhere"
        fix = (
            f"sysctl -w {' '.join(f'net.ipv4.conf.{name}.proxy_arp=0' for name in ('all', *on))} on the node"
        )
        yield "kernel", "warn", text, (fix,)


def _reverse_path(host: Host, names: Sequence[str]) -> Iterator[Told]:
    """Strict: what comes in must be what an answer would go out on. Where the default route leads it does."""
    own = {interface for address, interface in host.addresses if ":" not in address}
    for name in names:
        mode = host.setting(name, "rp_filter")
        if not mode or name in host.default:
            continue
        if name not in own:
            text = f"{name} has no IPv4 address and rp_filter is {mode}: the kernel drops what clients send"
            yield "kernel", "warn", text, _loosen(name, 0)
        elif mode == 1 and host.default:
            text = (
                f"rp_filter is 1 on {name}, and the default route goes over {', '.join(host.default)}: "
                f"packets of clients beyond {name}'s own network are dropped"
            )
            yield "kernel", "warn", text, _loosen(name, 2)


def _loosen(name: str, mode: int) -> tuple[str, ...]:
    """The greater of all and the interface counts: to have 0 both must be."""
    both = f"net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{name}.rp_filter=0"
    fix = both if not mode else f"net.ipv4.conf.{name}.rp_filter={mode}"
    return (
        f"on the node: sysctl -w {fix}",
        f"or keep {name} out: spec.interfaces of the L2Advertisement; policy routing may make it harmless",
    )


def _forwarding(host: Host, addresses: Sequence[str]) -> Iterator[Told]:
    settings = ((4, host.forward, "ipv4.ip_forward"), (6, host.forward6, "ipv6.conf.all.forwarding"))
    for version, value, name in settings:
        if value == 0 and any((":" in each) == (version == 6) for each in addresses):
            text = f"net.{name} is 0: what comes for an address is not passed on to Pods"
            yield "kernel", "warn", text, (f"on the node: sysctl -w net.{name}=1",)
