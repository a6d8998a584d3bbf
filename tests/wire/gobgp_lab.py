"""A real gobgpd in a namespace, where FRR runs otherwise; what it holds is read from its own JSON.

In:  GoBGP, built once from its Go module (lab/gobgp).
Out: `GoBGP`: start, kill, and what it says of its sessions and paths.
Elsewhere: namespaces, speaker and agent are bgp_lab.py.
"""

import json
import subprocess
from collections.abc import Mapping
from typing import Any, Final

from lab.binaries import ensure_gobgp
from tests.wire.bgp_lab import Lab, Linked
from tests.wire.doing import run, wait_for

ESTABLISHED: Final = 6
# Type of a path attribute → our name, and where its value stands in GoBGP's JSON.
ATTRIBUTES: Final = {
    3: ("next_hop", "nexthop"),
    4: ("med", "metric"),
    5: ("local_preference", "value"),
    8: ("communities", "communities"),
    14: ("next_hop", "nexthop"),  # MP_REACH_NLRI
    16: ("extended", "value"),
    32: ("large", "value"),
}


class GoBGP(Linked):
    """One gobgpd, with a session to each of our two addresses on its link, for both families."""

    def __init__(self, lab: Lab, number: int) -> None:
        super().__init__(number, lab.folder)
        lab.others.append(self)

    def start(
        self,
        *,
        remote_as: int = 65001,
        router_id: str = "",
        password: str = "",
        max_prefixes: int = 0,
        **sections: Mapping[str, Any],
    ) -> None:
        """`sections`: more of a neighbor's configuration: timers={"hold-time": 3}."""
        more = {name.replace("_", "-"): {"config": section} for name, section in sections.items()}
        neighbor: dict[str, Any] = {"peer-as": remote_as, "auth-password": password}
        limit = {"prefix-limit": {"config": {"max-prefixes": max_prefixes}}} if max_prefixes else {}
        families = [{"config": {"afi-safi-name": f"{f}-unicast"}, **limit} for f in ("ipv4", "ipv6")]
        config = {
            "global": {"config": {"as": self.asn, "router-id": router_id or self.v4}},
            "neighbors": [
                {
                    "config": {"neighbor-address": address, **neighbor},
                    "afi-safis": families,
                    **more,
                }
                for address in (self.ours4, self.ours6)
            ],
        }
        path = self.folder / "gobgpd.json"
        path.write_text(json.dumps(config))
        command = ["ip", "netns", "exec", self.namespace, str(ensure_gobgp() / "gobgpd"), "--config-strict"]
        command += ["-f", str(path), "-t", "json", "-p", "--pprof-disable", "--api-hosts", self._api]
        with (self.folder / "gobgpd.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(lambda: self.log.count("Add a peer configuration") == 2, f"gobgpd's peers; {self.log}")

    @property
    def _api(self) -> str:
        return f"unix://{self.folder}/api.sock"

    @property
    def log(self) -> str:
        return (self.folder / "gobgpd.log").read_text()

    def gobgp(self, *words: str) -> str:
        return run(str(ensure_gobgp() / "gobgp"), "--target", self._api, *words)

    def session(self, family: int = 4) -> dict[str, Any]:
        peer = self.ours4 if family == 4 else self.ours6
        found: dict[str, Any] = json.loads(self.gobgp("-j", "neighbor", peer))
        return found

    def up(self, family: int = 4) -> bool:
        return bool(self.session(family)["state"].get("session_state") == ESTABLISHED)

    def heard(self, family: int = 4) -> dict[str, int]:
        """How many messages of each kind came; GoBGP leaves out what is 0."""
        found: dict[str, int] = self.session(family)["state"]["messages"].get("received", {})
        return found

    def paths(self, family: int = 4) -> dict[str, list[dict[str, Any]]]:
        """prefix → its paths."""
        found = json.loads(self.gobgp("-j", "global", "rib", "-a", f"ipv{family}"))
        return found if isinstance(found, dict) else {}

    def path(self, prefix: str) -> dict[str, Any]:
        """What the only path to it carries, by our names; {} if there is none."""
        paths = self.paths(6 if ":" in prefix else 4).get(prefix, [])
        assert len(paths) <= 1
        return carried(paths[0]) if paths else {}


def carried(path: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"stale": path["stale"]}
    for attribute in path["attrs"]:
        if attribute["type"] == 2:
            found["as_path"] = [number for part in attribute["as_paths"] for number in part["asns"]]
        elif attribute["type"] in ATTRIBUTES:
            name, key = ATTRIBUTES[attribute["type"]]
            found[name] = attribute[key]
    return found
