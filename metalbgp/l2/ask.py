"""`python -m metalbgp.l2.ask ADDRESS [INTERFACE…]`: who answers ARP or NDP for it, seen from this node.

In:  the command line. Without interfaces: every fit one that is not excluded by name (links.py).
Out: one JSON line: {"address", "asked": [interfaces], "answers": […], "failed": {interface: why}}.
     Exit code 1: it could not be asked, and stderr says why. It takes 0.9 s.
Elsewhere: what is asked and what counts as an answer is asking.py; who runs it is cli/l2_probe.py.

The question is an ARP probe, or a solicitation as in duplicate address detection: no neighbour's cache
changes by it. This node's own reflex does not hear it, so the owner must be asked from elsewhere.
"""

import errno
import json
import select
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

from metalbgp.l2 import filters, wire
from metalbgp.l2.asking import Asking
from metalbgp.l2.links import EXCLUDED, Interface, Links, dump_requests, excluded
from metalbgp.l2.packets import packet_socket

NO_RIGHT: Final = (
    "not allowed to open a packet socket: the speaker lacks capability NET_RAW; "
    "remedy: securityContext.capabilities.add: [NET_RAW, SYS_NICE], as k8s/metalbgp.yaml has it"
)


class CannotAsk(Exception):
    pass


def packed(text: str) -> bytes:
    """A unicast address, or CannotAsk."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            address = socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
        if len(address) == 4 and 0 < address[0] < 224 and address[0] != 127:
            return address
        if len(address) == 16 and address[0] != 0xFF and address[:15] != bytes(15):
            return address
    raise CannotAsk(f"{text!r:.80} is no unicast address")


def fit(names: Sequence[str]) -> tuple[list[Interface], dict[str, str]]:
    """The interfaces to ask on, and why not on others that were named."""
    links = Links()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as asking:
        asking.settimeout(1.0)
        for request in dump_requests():
            asking.send(request)
            while not links.apply(asking.recv(1 << 17)):
                pass
    found = links.fit(excluded(() if names else EXCLUDED))
    if not names:
        return list(found.values()), {}
    there = {name for _, name in socket.if_nameindex()}
    why = {
        name: "it has no link, or is no Ethernet interface of its own" if name in there else "there is none"
        for name in names
        if name not in found
    }
    return [found[name] for name in names if name in found], why


def ask(address: bytes, interfaces: Sequence[Interface], failed: dict[str, str]) -> Asking:
    """All interfaces at once."""
    asking = Asking(address, interfaces, time.monotonic())
    for one in interfaces:
        if one.name not in asking.interfaces:
            failed[one.name] = "no link-local address, so no NDP" if len(address) == 16 else "no ARP"
    sockets = {name: _open(name, address) for name in asking.interfaces}
    poll = select.poll()
    readers = {one.fileno(): (name, one) for name, one in sockets.items()}
    for descriptor in readers:
        poll.register(descriptor, select.POLLIN)
    while sockets and not asking.over(time.monotonic()):
        for name, frame in asking.wake(time.monotonic()):
            try:
                sockets[name].send(frame)
            except OSError as problem:
                failed[name] = problem.strerror or str(problem)
        wait = max(0.0, asking.deadline - time.monotonic())
        for descriptor, _ in poll.poll(wait * 1000 + 1):
            name, reader = readers[descriptor]
            try:
                asking.heard(name, reader.recv(2048), time.monotonic())
            except OSError as problem:  # the interface went down under us: said once, and not waited for
                failed[name] = problem.strerror or str(problem)
                poll.unregister(descriptor)
    for reader in sockets.values():
        reader.close()
    return asking


def _open(name: str, address: bytes) -> socket.socket:
    ethertype = wire.ARP_TYPE if len(address) == 4 else wire.IPV6_TYPE
    program = filters.arp((), (address,)) if len(address) == 4 else filters.ndp((), (address,))
    try:
        return packet_socket(name, ethertype, program)
    except OSError as problem:
        if problem.errno in (errno.EPERM, errno.EACCES):
            raise CannotAsk(NO_RIGHT) from problem
        raise CannotAsk(f"{name}: {problem.strerror}") from problem


def answer(words: Sequence[str]) -> dict[str, Any]:
    if not words:
        raise CannotAsk("which address?")
    text, *names = words
    address = packed(text)
    interfaces, failed = fit(names)
    asking = ask(address, interfaces, failed)
    return {
        "address": text,
        "asked": sorted(name for name in asking.interfaces if name not in failed),
        "answers": list(asking.rows()),
        "failed": failed,
    }


def main() -> int:
    try:
        found = answer(sys.argv[1:])
    except (CannotAsk, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(found, separators=(",", ":")) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
