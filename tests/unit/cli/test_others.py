"""Other load balancers: who would touch the same Services is told, and harmless company is no alarm."""

from typing import Any

import pytest

from metalbgp.cli import others
from metalbgp.cli.checks import Finding
from metalbgp.cli.others import CALICO_BGP, CALICO_POOLS, CILIUM_BGP, CILIUM_L2, CILIUM_POOLS
from metalbgp.cli.pods import Pod
from tests.unit.cli.test_doctor import well

CILIUM = "quay.io/cilium/cilium:v1.17"


def image(name: str, **fields: Any) -> Pod:
    return Pod(namespace="kube-system", name="some-pod", images=(name,), **fields)


def told(*pods: Pod, lb_class: str | None = None, **objects: Any) -> list[Finding]:
    return list(others.others(pods, objects, lb_class=lb_class))


def custom(spec: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    return ({"metadata": {"name": "x"}, "spec": spec},)


@pytest.mark.parametrize(
    ("name", "who", "verdict"),
    [
        ("quay.io/metallb/speaker:v0.15", "MetalLB", "bad"),
        ("ghcr.io/kube-vip/kube-vip:v0.8", "kube-vip", "ok"),
        ("ghcr.io/kube-vip/kube-vip-cloud-provider:v0.0.12", "kube-vip's cloud provider", "bad"),
        (CILIUM, "Cilium", "ok"),
        ("rancher/klipper-lb:v0.4", "k3s ServiceLB", "bad"),
        ("registry.gitlab.com/purelb/purelb/allocator:v0.13", "PureLB", "bad"),
        ("kubesphere/openelb-manager:v0.6", "OpenELB", "warn"),
        ("docker.io/cloudnativelabs/kube-router:v2.5", "kube-router", "ok"),
    ],
)
def test_other_load_balancers_are_seen_by_their_images(name: str, who: str, verdict: str) -> None:
    (found,) = told(image(name), image("metalbgp/metalbgp:dev"))
    assert (found.verdict, found.text.partition(" is here")[0]) == (verdict, who)
    assert found.remedy or verdict == "ok"


def test_we_are_no_other_load_balancer() -> None:
    (found,) = told(image("docker.io/metalbgp/metalbgp:dev"))
    assert (found.verdict, found.text) == ("ok", "no other load balancer was seen")


@pytest.mark.parametrize(
    ("pod", "verdict"),
    [
        (image("ghcr.io/kube-vip/kube-vip:v1", environment={"svc_enable": "true"}), "bad"),
        (image("ghcr.io/kube-vip/kube-vip@sha256:00", arguments=("manager", "--services")), "bad"),
        (image("ghcr.io/kube-vip/kube-vip:v1", environment={"svc_enable": "false"}), "ok"),
        (image("x/kube-router:v2", arguments=("--advertise-loadbalancer-ip=true",)), "warn"),
        (image("x/kube-router:v2", arguments=("--advertise-loadbalancer-ip", "--run-router")), "warn"),
        (image("x/kube-router:v2", arguments=("--advertise-loadbalancer-ip=false",)), "ok"),
    ],
)
def test_what_its_own_settings_turn_off_is_harmless(pod: Pod, verdict: str) -> None:
    (found,) = told(pod)
    assert found.verdict == verdict


@pytest.mark.parametrize(
    ("kind", "spec", "verdict"),
    [
        (CILIUM_POOLS, {"blocks": [{"cidr": "10.0.0.0/24"}]}, "bad"),
        (CILIUM_POOLS, {"serviceSelector": {"matchLabels": {"a": "b"}}}, "warn"),
        (CILIUM_POOLS, {"disabled": True}, "ok"),
        (CILIUM_L2, {"loadBalancerIPs": True}, "bad"),
        (CILIUM_L2, {"externalIPs": True}, "ok"),
        (
            CILIUM_BGP,
            {
                "advertisements": [
                    {"advertisementType": "Service", "service": {"addresses": ["LoadBalancerIP"]}}
                ]
            },
            "warn",
        ),
        (CILIUM_BGP, {"advertisements": [{"advertisementType": "PodCIDR"}]}, "ok"),
    ],
)
def test_cilium_is_judged_by_what_it_was_told(kind: str, spec: dict[str, Any], verdict: str) -> None:
    (found,) = told(image(CILIUM), **{kind: custom(spec)})
    assert found.verdict == verdict, found


def test_what_may_not_be_read_of_cilium_is_said() -> None:
    (found,) = told(image(CILIUM), **{CILIUM_POOLS: None})
    assert found.text.endswith(f"(not allowed to read {CILIUM_POOLS})")


@pytest.mark.parametrize(
    ("kind", "spec", "verdict"),
    [
        (CALICO_BGP, {"serviceLoadBalancerIPs": [{"cidr": "10.0.0.0/24"}]}, "warn"),
        (CALICO_BGP, {"serviceClusterIPs": [{"cidr": "10.0.0.0/24"}]}, "ok"),
        (CALICO_POOLS, {"cidr": "10.0.0.0/24", "allowedUses": ["LoadBalancer"]}, "bad"),
        (CALICO_POOLS, {"cidr": "10.0.0.0/24", "allowedUses": ["Workload", "Tunnel"]}, "ok"),
    ],
)
def test_calico_is_judged_by_what_it_was_told(kind: str, spec: dict[str, Any], verdict: str) -> None:
    (found,) = told(**{kind: custom(spec)})
    assert found.verdict == verdict, found


def test_with_a_class_of_our_own_only_those_are_left_that_look_at_no_class() -> None:
    announces = {CALICO_BGP: custom({"serviceLoadBalancerIPs": [{"cidr": "10.0.0.0/24"}]})}
    found = told(image("quay.io/metallb/speaker:v0.15"), lb_class="metalbgp.io/bgp", **announces)
    assert [one.verdict for one in found] == ["ok", "warn"]
    assert found[0].text.endswith("not those of class metalbgp.io/bgp, which alone are ours")


def test_the_doctor_reads_the_objects_of_products_that_are_here() -> None:
    world = well()
    world.objects["customresourcedefinitions"].append({"metadata": {"name": CILIUM_POOLS}})
    world.objects["ciliumloadbalancerippools"] = list(custom({"blocks": []}))
    result = world.run("doctor")
    assert (
        "bad   others      Cilium gives addresses of CiliumLoadBalancerIPPool x to every Service"
        in result.stdout
    )
    assert result.exit_code == 1


def test_an_address_in_a_status_that_we_did_not_give_is_told() -> None:
    world = well()
    world.objects["services"][0]["status"] = {"loadBalancer": {"ingress": [{"ip": "10.252.252.100"}]}}
    assert "somebody else" not in world.run("doctor").stdout
    world.objects["services"][0]["status"] = {"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}}
    said = "warn  others      somebody else writes the status of 1 Service: web/nginx (192.0.2.9)"
    assert said in world.run("doctor").stdout.splitlines()
