"""The doctor's checks: values in, findings out. Pure.

In:  what doctor.py read; None where it was not allowed to.
Out: Findings: ok, warn (works, but not as promised, or cannot be told) or bad, each with its remedy.
Elsewhere: reading is doctor.py; sessions and the Lease are judged as in status.py; L2 is layer2_checks.py,
     other load balancers are others.py.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import yaml
from msgspec import Struct

from metalbgp.cli.pods import Pod
from metalbgp.cli.render import listed, many
from metalbgp.cli.sessions import Row
from metalbgp.cli.status_lines import Counts
from metalbgp.model.report import NodeReport
from metalbgp.model.services import Node

Verdict = Literal["ok", "warn", "bad"]

STRICT_ARP_FIX: Final = (
    "kubectl get configmap kube-proxy -n kube-system -o yaml | "
    'sed -e "s/strictARP: false/strictARP: true/" | kubectl apply -f - -n kube-system'
)
STRICT_ARP_EDIT: Final = "kubectl edit configmap -n kube-system kube-proxy   (under ipvs: strictARP: true)"
RESTART_PROXY: Final = "then: kubectl rollout restart -n kube-system daemonset kube-proxy"
KINDS: Final = frozenset(
    {
        "bfdprofiles.metallb.io",
        "bgpadvertisements.metallb.io",
        "bgppeers.metallb.io",
        "communities.metallb.io",
        "configurationstates.metallb.io",
        "ipaddresspools.metallb.io",
        "l2advertisements.metallb.io",
        "servicebgpstatuses.metallb.io",
        "servicel2statuses.metallb.io",
        "addressreservations.metalbgp.io",
        "speakerorders.metalbgp.io",
        "nodestates.metalbgp.io",
        "poolpolicies.metalbgp.io",
        "speakerconfigurations.metalbgp.io",
        "virtualips.metalbgp.io",
    }
)


class Finding(Struct, frozen=True):
    check: str
    verdict: Verdict
    text: str
    remedy: tuple[str, ...] = ()


# ------------------------------------------------------------------ kube-proxy


def strict_arp(data: Mapping[str, str] | None) -> Finding:
    """From the ConfigMap kube-proxy of kube-system; None: there is none."""
    if data is None:
        return Finding(
            "kube-proxy",
            "ok",
            "there is no ConfigMap kube-proxy in kube-system: kubeadm did not make this cluster, or "
            "something replaces kube-proxy (k3s, Cilium). Only a kube-proxy in mode ipvs needs strictARP; "
            "on a node, curl -s localhost:10249/proxyMode says the mode",
        )
    found = _proxy_configuration(data)
    if isinstance(found, str):
        look = ("kubectl get configmap -n kube-system kube-proxy -o yaml",)
        return Finding("kube-proxy", "warn", f"its mode cannot be told: {found}", look)
    mode = str(found.get("mode") or "").strip().lower()
    if mode != "ipvs":
        said = f"mode {mode}" if mode else "no mode is set, so iptables"
        return Finding("kube-proxy", "ok", f"{said}: strictARP is not needed")
    ipvs = found.get("ipvs")
    strict = ipvs.get("strictARP") if isinstance(ipvs, dict) else None
    if strict is True:
        return Finding("kube-proxy", "ok", "mode ipvs with strictARP: true")
    # The command that everybody knows replaces what is written; where nothing is, it would do nothing.
    fix = STRICT_ARP_FIX if any("strictARP: false" in text for text in data.values()) else STRICT_ARP_EDIT
    return Finding(
        "kube-proxy",
        "bad",
        "mode ipvs without strictARP: every node answers ARP for every address, so L2 cannot work (BGP can)",
        (fix, RESTART_PROXY),
    )


def _proxy_configuration(data: Mapping[str, str]) -> dict[str, Any] | str:
    """The KubeProxyConfiguration, whatever its key is called; or why there is none."""
    wrong = "the ConfigMap is empty"
    for key in sorted(data, key=lambda key: key != "config.conf"):
        if key.startswith("kubeconfig"):
            continue
        try:
            found = yaml.safe_load(data[key])
        except yaml.YAMLError as error:
            wrong = f"{key} is not YAML: {' '.join(str(error).split())}"
            continue
        if isinstance(found, dict) and (found.get("kind") == "KubeProxyConfiguration" or "mode" in found):
            return found
        wrong = f"{key} holds no KubeProxyConfiguration"
        if key == "config.conf":
            return wrong
    return wrong


# ------------------------------------------------------------------ what the manifest makes


def kinds(found: frozenset[str] | None, installation: str) -> Finding:
    if found is None:
        return Finding("kinds", "warn", "not allowed to list CustomResourceDefinitions")
    missing = sorted(KINDS - found)
    if missing:
        logs = f"kubectl logs -n {installation} deployment/controller -c crds"
        return Finding(
            "kinds",
            "bad",
            f"{len(missing)} of {len(KINDS)} kinds are missing: {listed(missing)}",
            (logs, "or: kubectl apply -f crds.yaml"),
        )
    return Finding("kinds", "ok", f"all {len(KINDS)} are there")


def controller(count: Counts | None, leader: str, nobody: str, installation: str) -> Finding:
    look = f"kubectl get pods -n {installation} -l component=controller"
    logs = f"kubectl logs -n {installation} deployment/controller"
    if count is None:
        return Finding("controller", "warn", "not allowed to read Pods and Deployments")
    if count.ready == 0:
        return Finding("controller", "bad", f"0 of {count.wanted} ready", (look, logs))
    said = f"{count.ready} of {count.wanted} ready"
    if nobody:
        return Finding("controller", "bad", f"{said}; {nobody}", (logs,))
    if count.ready < count.wanted:
        return Finding("controller", "warn", f"{said}, {leader} leads", (look,))
    if count.wanted == 1:
        two = f"kubectl scale -n {installation} deployment/controller --replicas=2"
        return Finding("controller", "ok", f"{said}; a second one would take over within seconds: {two}")
    return Finding("controller", "ok", f"{said}, {leader} leads" if leader else said)


def speakers(
    nodes: Sequence[Node] | None, pods: Sequence[Pod] | None, wanted: int | None, installation: str
) -> Finding:
    """`wanted`: what the DaemonSet says; a node that its selectors leave out is no fault."""
    if pods is None:
        return Finding("speakers", "warn", "not allowed to read Pods")
    mine = [pod for pod in pods if pod.component == "speaker"]
    live = {pod.node for pod in mine if pod.ready and not pod.deleting}
    unready = sorted(pod.node or pod.name for pod in mine if pod.node not in live)
    look = f"kubectl get pods -n {installation} -l component=speaker -o wide"
    if unready:
        return Finding("speakers", "bad", f"not ready on {listed(unready)}", (look,))
    if not mine:
        return Finding(
            "speakers", "bad", "there is none", (f"kubectl get daemonset -n {installation} speaker",)
        )
    missing = sorted({node.name for node in nodes or ()} - live)
    if wanted is not None and len(live) < wanted:
        return Finding("speakers", "bad", f"{len(live)} of {wanted} ready", (look,))
    if missing:
        text = f"ready on {many(len(live), 'node')}; none is meant to run on {listed(missing)}"
        return Finding("speakers", "warn", text, (f"kubectl describe daemonset -n {installation} speaker",))
    return Finding(
        "speakers", "ok", f"ready on {'all ' if nodes is not None else ''}{many(len(live), 'node')}"
    )


# ------------------------------------------------------------------ what they do


def sessions(rows: Sequence[Row], peers: int, words: Sequence[str]) -> Finding:
    """`words`: what is wrong, a line each, in the words of status."""
    real = [row for row in rows if row.session is not None]
    if words:
        up = sum(not row.wrong for row in real)
        text = f"{up} of {len(real)} established; {'; '.join(words[:3])}"
        return Finding("sessions", "bad", text, ("metalbgp sessions --problems",))
    if real:
        return Finding("sessions", "ok", f"all {len(real)} established")
    if peers:
        text = (
            f"no node runs a session, though there {'is' if peers == 1 else 'are'} {many(peers, 'BGPPeer')}"
        )
        return Finding("sessions", "bad", text, ("kubectl get bgppeers -A -o yaml   (nodeSelectors)",))
    return Finding("sessions", "ok", "there is no BGPPeer, so there is no session")


def configuration(errors: Sequence[str]) -> Iterator[Finding]:
    if not errors:
        yield Finding("config", "ok", "every object is in force")
    for error in errors:
        yield Finding("config", "bad", f"{error}; its last good version stays in force")


def up_to_date(reports: Sequence[NodeReport], sequence: int) -> Finding:
    """Speakers that hold an older configuration than the one that stands."""
    behind = sorted(report.node for report in reports if report.configuration < sequence)
    if behind:
        return Finding("view", "warn", f"an older configuration is in force on {listed(behind)}")
    return Finding("view", "ok", f"{many(len(reports), 'speaker')} hold configuration {sequence}")


def realtime(reports: Sequence[NodeReport]) -> Finding:
    """The reflex answers ARP and NDP; without a realtime class a busy node answers late."""
    by_class: dict[str, list[str]] = {}
    for report in reports:
        by_class.setdefault(report.realtime.lower(), []).append(report.node)
    if not by_class:
        return Finding("realtime", "warn", "no speaker has reported")
    good = {"fifo", "deadline"}
    slow = {name: nodes for name, nodes in by_class.items() if name not in good}
    if not slow:
        return Finding(
            "realtime", "ok", f"the reflex has class {' or '.join(sorted(by_class))} on every node"
        )
    parts = []
    for name, nodes in sorted(slow.items()):
        if name:
            parts.append(f"only {name} on {listed(nodes)}" if name != "none" else f"none on {listed(nodes)}")
        else:
            parts.append(f"the reflex is not heard on {listed(nodes)}")
    text = (
        f"no realtime class: {'; '.join(parts)}: in L2 takeovers take about 1.2 s, and answers may come late"
    )
    steps = (
        "add capability SYS_NICE to the speaker (k8s/metalbgp.yaml has it)",
        "where it has: FIFO needs a realtime budget in the Pod's cgroup, DEADLINE CPUs that are not pinned",
        "and not reserved already; until then requests.cpu: 1 for the speaker helps most",
    )
    return Finding("realtime", "warn", text, steps)


def said_by_speakers(reports: Sequence[NodeReport]) -> Iterator[Finding]:
    for report in reports:
        for text in report.problems:
            yield Finding("speaker", "warn", f"{report.node}: {text}")


# ------------------------------------------------------------------ the screen


def lines(findings: Sequence[Finding]) -> list[str]:
    said = []
    for one in findings:
        said.append(f"{one.verdict:6}{one.check:12}{one.text}")
        said += [f"{'':18}{'remedy: ' if not index else ''}{step}" for index, step in enumerate(one.remedy)]
    bad, warn = (sum(one.verdict == verdict for one in findings) for verdict in ("bad", "warn"))
    if bad or warn:
        said.append(f"{many(bad, 'problem')}, {many(warn, 'warning')}")
    return said
