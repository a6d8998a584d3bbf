"""The lab's router: FRR in a container, as users know it, in the router's namespace.

In:  Settings.
Out: its configuration, the container's start, vtysh.
Elsewhere: FRR as plain processes, for tests that want more routers, in frr.py.
"""

from __future__ import annotations

import itertools
import os
from typing import Final

from lab import containerd
from lab.images import FRR
from lab.settings import NODE_RANGES, NODES_AS, ROUTER, ROUTER_AS, Settings
from lab.shell import NETNS, inside, run

CONTAINER: Final = "tor"
_numbers = itertools.count()


def configuration(*, asn: int = ROUTER_AS, router_id: str = ROUTER.address, hostname: str = CONTAINER) -> str:
    """A top-of-rack router: takes sessions from every node, both families, and spreads over them."""
    listen = "\n".join(f" bgp listen range {subnet} peer-group NODES" for subnet in NODE_RANGES)
    families = "\n".join(
        f" address-family {family} unicast\n"
        "  neighbor NODES activate\n"
        "  neighbor NODES soft-reconfiguration inbound\n"
        "  maximum-paths 16\n"
        " exit-address-family"
        for family in ("ipv4", "ipv6")
    )
    return f"""\
frr defaults traditional
hostname {hostname}
log stdout
service integrated-vtysh-config
!
router bgp {asn}
 bgp router-id {router_id}
 bgp log-neighbor-changes
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 bgp bestpath as-path multipath-relax
 neighbor NODES peer-group
 neighbor NODES remote-as {NODES_AS}
{listen}
{families}
!
line vty
!
"""


def start(settings: Settings) -> None:
    """Pull the image from the lab's registry and run it; containerd and registry must be up."""
    own = settings.run / ROUTER.name
    config = own / "frr.conf"
    config.write_text(configuration())
    config.chmod(0o644)
    space = settings.namespace(ROUTER.name)
    containerd.pull(settings, ROUTER.name, f"docker.io/{FRR}", namespace=space)
    # Without CAP_SYS_ADMIN the container runs and bgpd in it does not.
    capabilities = [
        word for name in ("NET_ADMIN", "NET_RAW", "SYS_ADMIN") for word in ("--cap-add", f"CAP_{name}")
    ]
    containerd.ctr(
        settings,
        ROUTER.name,
        "run",
        "-d",
        "--runc-root",
        str(own / "runc"),
        "--fifo-dir",
        str(own / "fifo"),
        "--with-ns",
        f"network:{NETNS / space}",
        *capabilities,
        "--mount",
        f"type=bind,src={config},dst=/etc/frr/frr.conf,options=rbind:ro",
        f"docker.io/{FRR}",
        CONTAINER,
        namespace=space,
    )


def stop(settings: Settings) -> None:
    """Kill the container and remove it: a router that lost power."""
    space = settings.namespace(ROUTER.name)
    containerd.ctr(settings, ROUTER.name, "task", "rm", "--force", CONTAINER, namespace=space)
    containerd.ctr(settings, ROUTER.name, "container", "rm", CONTAINER, namespace=space)


def vtysh_argv(settings: Settings, *words: str, terminal: bool = False) -> list[str]:
    """The command that runs vtysh in the router."""
    space = settings.namespace(ROUTER.name)
    socket = str(containerd.socket(settings, ROUTER.name))
    number = f"vtysh-{os.getpid()}-{next(_numbers)}"
    argv = ["ctr", "--address", socket, "-n", space, "task", "exec", "--exec-id", number]
    argv += ["--fifo-dir", str(settings.run / ROUTER.name / "fifo")]
    return inside(space, [*argv, *(["-t"] if terminal else []), CONTAINER, "vtysh", *words])


def vtysh(settings: Settings, *commands: str, check: bool = True) -> str:
    """Run commands one after another in one vtysh, e.g. `configure terminal`, `router bgp 64512`, …"""
    words = [word for command in commands for word in ("-c", command)]
    return run(*vtysh_argv(settings, *words), check=check, timeout=60).stdout


def answers(settings: Settings) -> bool:
    """Whether bgpd is up: vtysh knows the instance."""
    done = run(*vtysh_argv(settings, "-c", "show bgp summary json"), check=False, timeout=60)
    return done.returncode == 0 and "{" in done.stdout
