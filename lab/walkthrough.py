"""What a first user does, typed out: each command and what comes back.

In:  a Lab that is up; the files of docs/walkthrough, unchanged.
Out: the same screen that a person would see, first over BGP, then over L2.
Elsewhere: the story itself in docs/walkthrough/README.md.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from lab import router
from lab.cluster import Lab
from lab.settings import REPOSITORY
from lab.shell import LabError, inside, wait_until

FILES: Final = REPOSITORY / "docs" / "walkthrough"
MANIFEST: Final = REPOSITORY / "k8s" / "metalbgp.yaml"
NAMESPACE: Final = "metallb-system"
ADDRESS: Final = "10.252.252.100"


class Screen:
    """Types commands and prints what they answer."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._environment = {
            **os.environ,
            "KUBECONFIG": str(lab.kubeconfig),
            "PATH": f"{lab.kubectl_path.parent}:{os.environ.get('PATH', '')}",
            "PYTHONPATH": str(REPOSITORY),
        }

    def say(self, text: str) -> None:
        """A heading between commands."""
        print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)

    def type(self, line: str, *, fine: tuple[int, ...] = (0,)) -> str:
        """A command on the user's own machine; `metalbgp` is the checkout's."""
        words = shlex.split(line)
        if words[0] == "metalbgp":
            words = [sys.executable, "-m", "metalbgp.cli", *words[1:]]
        return self._show("$", line, words, fine)

    def outside(self, line: str) -> str:
        """A command on the client, outside the cluster."""
        return self._show(
            "client$", line, inside(self._lab.settings.namespace("client"), shlex.split(line)), (0,)
        )

    def router(self, line: str) -> str:
        """A command at the router's prompt."""
        return self._show("tor#", line, router.vtysh_argv(self._lab.settings, "-c", line), (0,))

    def _show(self, prompt: str, line: str, words: list[str], fine: tuple[int, ...]) -> str:
        print(f"{prompt} {line}", flush=True)
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env=self._environment,
            cwd=FILES if FILES.is_dir() else None,
        )
        print(done.stdout, end="" if done.stdout.endswith("\n") else "\n", flush=True)
        if done.returncode not in fine:
            raise LabError(f"{line}: exit code {done.returncode}")
        return done.stdout


def walk(lab: Lab) -> None:
    """All steps; raises LabError at the first one that does not do what the story says."""
    screen = Screen(lab)
    screen.say("Install")
    screen.type(f"kubectl apply -f {_shown(MANIFEST)}")
    _wait(lambda: _pods_ready(lab), "controller and speakers run")
    screen.type(f"kubectl get pods -n {NAMESPACE} -o wide")
    screen.type("metalbgp doctor", fine=(0, 1))

    screen.say("A pool, and BGP to the router")
    screen.type("kubectl apply -f pool.yaml")
    screen.type("kubectl apply -f bgp.yaml")
    screen.type("kubectl apply -f service.yaml")
    screen.type("kubectl apply -f app.yaml")
    screen.type("kubectl rollout status deployment nginx-app --timeout=60s")
    _wait(lambda: ADDRESS in lab.kubectl("get", "service", "nginx"), "the service has its address")
    _wait(lambda: _next_hops(lab) == len(lab.nodes), "the router has a next hop per node")
    _look(screen)
    screen.router("show ip bgp")
    screen.router(f"show ip route {ADDRESS}")
    screen.type("metalbgp sessions", fine=(0, 1))
    screen.type("metalbgp routes -A", fine=(0, 1))
    _curls(lab, screen)

    screen.say("The same service over L2: only the advertisement changes")
    screen.type("kubectl delete -f bgp.yaml")
    screen.type("kubectl apply -f l2.yaml")
    _wait(lambda: _next_hops(lab) == 0, "the router has no BGP route any more")
    _wait(lambda: lab.client_exec(_CURL, check=False).returncode == 0, "a node answers for the address")
    _look(screen)
    screen.outside(f"curl -s {ADDRESS}")
    print(lab.router_exec(["ip", "neigh", "show", ADDRESS]).stdout, end="")
    _curls(lab, screen)


_CURL: Final = ["curl", "-s", "--max-time", "1", ADDRESS]


def _look(screen: Screen) -> None:
    screen.type("kubectl get service nginx")
    screen.type("kubectl describe service nginx")
    screen.type("kubectl get vips", fine=(0, 1))
    screen.type("metalbgp status", fine=(0, 1))
    screen.type("metalbgp explain default/nginx", fine=(0, 1))


def _curls(lab: Lab, screen: Screen, times: int = 60) -> None:
    """The curl loop, without its second of sleep, counted by pod."""
    screen.say(f"client$ for i in $(seq {times}); do curl {ADDRESS}; done, counted")
    pages = Counter(lab.client_exec(_CURL, check=False).stdout.strip() or "no answer" for _ in range(times))
    for page, count in pages.most_common():
        print(f"{count:5} {page}")
    pods = [page for page in pages if page.startswith("POD")]
    if len(pods) != 3 or pages["no answer"]:
        raise LabError(f"expected answers of all three pods and nothing else, got {dict(pages)}")


def _pods_ready(lab: Lab) -> bool:
    lines = lab.kubectl("get", "pods", "-n", NAMESPACE, "--no-headers", check=False).splitlines()
    running = [line for line in lines if " Running " in line and _all_ready(line.split()[1])]
    return len(running) == len(lines) and len(running) >= 1 + len(lab.nodes)


def _all_ready(cell: str) -> bool:
    ready, _, wanted = cell.partition("/")
    return ready == wanted


def _next_hops(lab: Lab) -> int:
    return lab.router_exec(["ip", "route", "show", ADDRESS]).stdout.count("via ")


def _wait(ready: Callable[[], bool], what: str) -> None:
    wait_until(ready, what, 90, pause=0.2)


def _shown(path: Path) -> str:
    return os.path.relpath(path, FILES)
