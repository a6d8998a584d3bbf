"""What the reflexes of a healthy cluster say of L2, and the settings of its nodes' kernels.

In:  the node's name, and what a test wants otherwise. Out: the JSON of `python -m metalbgp.reflex.ask`.
Elsewhere: the cluster around them is world.py.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

NOW = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)
NODES = ("n1", "n2", "n3")


def held(owner: str, here: bool = False, **fields: Any) -> dict[str, Any]:
    """One address as one reflex sees it; the candidates are n1, n2, n3 in this order."""
    states = ["self" if here and name == owner else "live" for name in NODES]
    said: dict[str, Any] = {
        "owner": owner,
        "here": here,
        "interfaces": ["eth0"] if here else [],
        "candidates": [list(pair) for pair in zip(NODES, states, strict=True)],
        "since": (NOW - timedelta(minutes=12)).timestamp(),
        "took": 0.31 if here else None,
        "cause": "n3 is silent",
        "requests": 14 if here else 0,
        "replies": 12 if here else 0,
        "gratuitous": 6 if here else 0,
    }
    return {**said, **fields}


def mac_of(name: str) -> str:
    return f"02:00:00:00:00:{NODES.index(name) + 1:02}"


def reflex(name: str, addresses: dict[str, Any] | None = None, **own: Any) -> dict[str, Any]:
    """What `python -m metalbgp.reflex.ask` of a healthy node says."""
    others = [one for one in NODES if one != name]
    about = {"interfaces": ["eth0"], "ago": 0.02, "loss": 0.0, "transport": "ethernet", "lost": []}
    here = {"node": name, "state": "active", "why": "", "key": "0badcafe", "interval": 0.05}
    found = addresses or {}
    return {
        "state": {
            "realtime": "fifo",
            "self": {
                **here,
                "owned": sum(one["here"] for one in found.values()),
                "duties": len(found),
                **own,
            },
            "members": [{"node": one, "state": "live", "mac": mac_of(one), **about} for one in others],
            "segments": {
                "eth0": {"mac": mac_of(name), "members": 2, "transport": "ethernet", "silent": False}
            },
            "interfaces": ["eth0"],
            "conflicts": [],
            "problems": [],
        },
        "addresses": found,
        "host": kernel(),
    }


def kernel(**fields: Any) -> dict[str, Any]:
    """A node's settings as a distribution leaves them, with kube-proxy in mode nftables."""
    settings = {"arp_ignore": 0, "arp_announce": 0, "rp_filter": 0, "proxy_arp": 0}
    said: dict[str, Any] = {
        "ipv4": {name: dict(settings) for name in ("all", "default", "eth0", "lo")},
        "forward": 1,
        "forward6": 1,
        "default": ["eth0"],
        "addresses": [["127.0.0.1", "lo"], ["10.252.252.11", "eth0"]],
        "more": 0,
        "links": ["eth0", "lo"],
        "capabilities": "0000000000802000",
    }
    return {**said, **fields}
