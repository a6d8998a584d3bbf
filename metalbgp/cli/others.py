"""The doctor's check of other load balancers: do they give or announce the same addresses? Pure.

In:  all Pods (images, arguments, environment), the objects by which Cilium and Calico are told to do it, the
     Services with what stands in their status.
Out: Findings. Harmless company is told as well: who looks for the reason of two answers looks here.
Elsewhere: reading is doctor.py; the names of the objects are KINDS, which access.py lists.

Most of them serve every Service without a loadBalancerClass, as we do; with a class of our own (--lb-class)
only those that announce whatever stands in a status are left.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from metalbgp.cli.checks import Finding, Verdict
from metalbgp.cli.pods import Pod, argument
from metalbgp.cli.render import listed, many
from metalbgp.model.services import Service

Objects = Mapping[str, Sequence[Mapping[str, Any]] | None]  # by CRD; None: not allowed to read

CILIUM_POOLS: Final = "ciliumloadbalancerippools.cilium.io"
CILIUM_L2: Final = "ciliuml2announcementpolicies.cilium.io"
CILIUM_BGP: Final = "ciliumbgpadvertisements.cilium.io"
CILIUM_BGP_OLD: Final = "ciliumbgppeeringpolicies.cilium.io"
CALICO_BGP: Final = "bgpconfigurations.crd.projectcalico.org"
CALICO_POOLS: Final = "ippools.crd.projectcalico.org"
KINDS: Final[Mapping[str, tuple[str, ...]]] = {  # versions under which each may be served
    CILIUM_POOLS: ("v2", "v2alpha1"),
    CILIUM_L2: ("v2alpha1",),
    CILIUM_BGP: ("v2", "v2alpha1"),
    CILIUM_BGP_OLD: ("v2alpha1",),
    CALICO_BGP: ("v1",),
    CALICO_POOLS: ("v1",),
}
CLASS: Final = "give one of the two a loadBalancerClass (ours: --lb-class of controller and speaker)"


class Other(Struct, frozen=True):
    """A load balancer, known by parts of its image's name. `armed` None: it always serves Services."""

    marks: tuple[str, ...]
    name: str
    verdict: Verdict
    why: str
    remedy: str = ""
    armed: Callable[[Pod], bool] | None = None  # by its own settings
    by_class: bool = True  # leaves Services of another class alone


def _kube_vip(pod: Pod) -> bool:
    return pod.environment.get("svc_enable", "").lower() == "true" or "--services" in pod.arguments


def _kube_router(pod: Pod) -> bool:
    said = argument(pod.arguments, "--advertise-loadbalancer-ip")
    return (
        said == "true"
        or (said is not None and said.startswith("--"))
        or (pod.arguments[-1:] == ("--advertise-loadbalancer-ip",))
    )


OTHERS: Final = (
    Other(
        ("metallb/",),
        "MetalLB",
        "bad",
        "it serves the same Services from the same objects, so both write one status and both answer",
        "kubectl delete -f the manifest of MetalLB, but not its CRDs: they hold your pools",
    ),
    Other(
        ("kube-vip-cloud-provider",),
        "kube-vip's cloud provider",
        "bad",
        "it gives addresses to the same Services",
        CLASS,
    ),
    Other(
        ("/kube-vip:", "/kube-vip@"),
        "kube-vip",
        "bad",
        "svc_enable is true, so it takes the addresses of the same Services",
        "set svc_enable=false in its manifest",
        _kube_vip,
    ),
    Other(
        ("klipper-lb",),
        "k3s ServiceLB",
        "bad",
        "it gives the nodes' addresses to the same Services",
        "start k3s with --disable servicelb",
    ),
    Other(("purelb/",), "PureLB", "bad", "it gives addresses to the same Services", CLASS),
    Other(
        ("openelb",),
        "OpenELB",
        "warn",
        "it gives addresses to Services that its annotation or class names",
        "let no Service name both",
    ),
    Other(("loxilb",), "LoxiLB", "warn", "it serves Services of its own class, or all", CLASS),
    Other(
        ("kube-router",),
        "kube-router",
        "warn",
        "--advertise-loadbalancer-ip is on: it announces the same addresses by BGP, from every node",
        "--advertise-loadbalancer-ip=false",
        _kube_router,
        by_class=False,
    ),
)


def others(
    pods: Sequence[Pod],
    objects: Objects | None = None,
    services: Iterable[tuple[Service, frozenset[str]]] = (),
    lb_class: str | None = None,
) -> Iterator[Finding]:
    """`services`: those that are ours, with the addresses that we gave them."""
    found = [*_by_image(pods), *_cilium(pods, objects or {}), *_calico(objects or {})]
    for one, by_class in found:
        if lb_class and by_class and one.verdict != "ok":
            text = f"{one.text}; not those of class {lb_class}, which alone are ours"
            yield Finding(one.check, "ok", text)
        else:
            yield one
    written = list(_written(services))
    yield from written
    if not found and not written:
        yield Finding("others", "ok", "no other load balancer was seen")


Seen = tuple[Finding, bool]  # and whether it leaves Services of another class alone


def _by_image(pods: Sequence[Pod]) -> Iterator[Seen]:
    for other in OTHERS:
        here = [pod for pod in pods if any(mark in image for mark in other.marks for image in pod.images)]
        if not here:
            continue
        armed = [pod for pod in here if other.armed is None or other.armed(pod)]
        if armed:
            text = f"{other.name} is here ({_where(armed)}): {other.why}"
            yield Finding("others", other.verdict, text, (other.remedy,)), other.by_class
        else:
            text = f"{other.name} is here ({_where(here)}), and leaves Services of type LoadBalancer alone"
            yield Finding("others", "ok", text), other.by_class


def _where(pods: Sequence[Pod]) -> str:
    first, *more = sorted({f"{pod.namespace}/{pod.name}" for pod in pods})
    return f"{first} and {len(more)} more" if more else first


def _cilium(pods: Sequence[Pod], objects: Objects) -> Iterator[Seen]:
    told = False
    for kind, what, acts, remedy in (
        (CILIUM_POOLS, "gives addresses of", _gives, "delete it, or give it a serviceSelector"),
        (CILIUM_L2, "answers in L2 by", _answers, "loadBalancerIPs: false, or a serviceSelector"),
        (CILIUM_BGP, "announces by", _advertises, "take LoadBalancerIP out of service.addresses"),
        (CILIUM_BGP_OLD, "announces by", _peers, "its serviceSelector: none, or one that spares ours"),
    ):
        for one in objects.get(kind) or ():
            reach = acts(one.get("spec") or {})
            if reach:
                told = True
                verdict: Verdict = "bad" if reach == ALL else "warn"
                whom = "to every Service" if reach == ALL else "to the Services that it selects"
                text = f"Cilium {what} {_kind(kind)} {_name(one)} {whom}: {WHY[kind]}"
                yield Finding("others", verdict, text, (remedy, CLASS)), True
    here = [pod for pod in pods if any("cilium/cilium" in image for image in pod.images)]
    if here and not told:
        unread = [
            name
            for name in (CILIUM_POOLS, CILIUM_L2, CILIUM_BGP)
            if name in objects and objects[name] is None
        ]
        hidden = f" (not allowed to read {listed(unread)})" if unread else ""
        text = (
            f"Cilium is here ({_where(here)}), and neither gives nor announces addresses of Services{hidden}"
        )
        if unread or not objects:
            text = (
                f"Cilium is here ({_where(here)}): harmless unless it has a CiliumLoadBalancerIPPool "
                f"or announces in L2 or BGP itself{hidden}"
            )
        yield Finding("others", "ok", text), True


ALL: Final = "all"
SOME: Final = "some"
WHY: Final = {
    CILIUM_POOLS: "both write one status",
    CILIUM_L2: "two nodes answer for one address",
    CILIUM_BGP: "routers see the address from nodes that we did not choose",
    CILIUM_BGP_OLD: "routers see the address from nodes that we did not choose",
}


def _reach(selector: object) -> str:
    """An empty selector of theirs selects everything, as none does."""
    return SOME if isinstance(selector, Mapping) and any(selector.values()) else ALL


def _gives(spec: Mapping[str, Any]) -> str:
    return "" if spec.get("disabled") else _reach(spec.get("serviceSelector"))


def _answers(spec: Mapping[str, Any]) -> str:
    return _reach(spec.get("serviceSelector")) if spec.get("loadBalancerIPs") else ""


def _advertises(spec: Mapping[str, Any]) -> str:
    for one in spec.get("advertisements") or ():
        addresses = (one.get("service") or {}).get("addresses") or ()
        if one.get("advertisementType") == "Service" and "LoadBalancerIP" in addresses:
            return SOME
    return ""


def _peers(spec: Mapping[str, Any]) -> str:
    routers = spec.get("virtualRouters") or ()
    return SOME if any(one.get("serviceSelector") is not None for one in routers) else ""


def _calico(objects: Objects) -> Iterator[Seen]:
    for one in objects.get(CALICO_BGP) or ():
        blocks = [
            str(each.get("cidr")) for each in (one.get("spec") or {}).get("serviceLoadBalancerIPs") or ()
        ]
        if blocks:
            text = (
                f"Calico announces {listed(blocks)} by BGP from every node (BGPConfiguration {_name(one)}, "
                "serviceLoadBalancerIPs), whatever our advertisements say"
            )
            yield Finding("others", "warn", text, ("take out of it what is in our pools",)), False
    for one in objects.get(CALICO_POOLS) or ():
        spec = one.get("spec") or {}
        if "LoadBalancer" in (spec.get("allowedUses") or ()) and not spec.get("disabled"):
            text = (
                f"Calico gives addresses of IPPool {_name(one)} to the same Services: both write one status"
            )
            fix = "KubeControllersConfiguration, loadBalancer.assignIPs: RequestedServicesOnly"
            yield Finding("others", "bad", text, (fix, CLASS)), True


def _written(services: Iterable[tuple[Service, frozenset[str]]]) -> Iterator[Finding]:
    """Whoever it is: an address in the status of a Service of ours that we did not give."""
    strange = []
    for service, given in services:
        more = sorted(set(service.ingress) - given) + (["a hostname"] if service.foreign_ingress else [])
        if more:
            strange.append(f"{service.key} ({', '.join(more)})")
    if strange:
        text = f"somebody else writes the status of {many(len(strange), 'Service')}: {listed(strange, 3)}"
        look = "kubectl get service NAME -o yaml --show-managed-fields shows who; then its loadBalancerClass"
        yield Finding("others", "warn", text, (look,))


def _name(one: Mapping[str, Any]) -> str:
    return str((one.get("metadata") or {}).get("name", "?"))


def _kind(crd: str) -> str:
    return {
        CILIUM_POOLS: "CiliumLoadBalancerIPPool",
        CILIUM_L2: "CiliumL2AnnouncementPolicy",
        CILIUM_BGP: "CiliumBGPAdvertisement",
        CILIUM_BGP_OLD: "CiliumBGPPeeringPolicy",
    }[crd]
