"""`metalbgp validate --cluster`: files laid over what stands there, and what stands there alone."""

from pathlib import Path
from typing import Any

from tests.unit.cli.test_validate import L2, PEER, POOL, asks, said
from tests.unit.cli.world import SYSTEM, World, claim, node, service


def stored(
    kind: str, name: str, spec: dict[str, Any], created: str = "2026-01-01T00:00:00Z"
) -> dict[str, Any]:
    about = {"name": name, "namespace": SYSTEM, "uid": name, "creationTimestamp": created}
    return {"apiVersion": "metallb.io/v1beta1", "kind": kind, "metadata": about, "spec": spec}


def test_files_are_laid_over_the_cluster_and_its_own_troubles_are_not_theirs(tmp_path: Path) -> None:
    world = World()
    world.objects["services"], world.objects["virtualips"] = [], []
    world.objects["ipaddresspools"] = [
        stored("IPAddressPool", "old", {"addresses": ["198.51.100.128/25"]}),
        stored("IPAddressPool", "broken", {"addresses": ["nonsense"]}),
    ]
    code, lines = said(tmp_path, POOL, "--cluster", world=world)
    assert code == 1
    assert [line for line in lines if "remedy" not in line] == lines[:1]
    assert 'overlaps with CIDR "198.51.100.128/25" in pool "old"' in lines[0]
    alone = world.run("validate", "--cluster")
    assert (alone.exit_code, "cluster: IPAddressPool broken: spec.addresses[0]: " in alone.stdout) == (
        1,
        True,
    )


def test_an_edit_of_what_stands_is_judged_as_an_edit(tmp_path: Path) -> None:
    """The object in force wins a conflict: the edited one is to blame, however old it is."""
    world = World()
    world.objects["services"], world.objects["virtualips"] = [], []
    world.objects["ipaddresspools"] = [
        stored("IPAddressPool", "production", {"addresses": ["192.0.2.0/24"]}),
        stored("IPAddressPool", "younger", {"addresses": ["198.51.100.0/24"]}, "2026-06-01T00:00:00Z"),
    ]
    code, lines = said(tmp_path, POOL, "--cluster", world=world)
    assert (code, lines[0].startswith("6: IPAddressPool production: spec.addresses[0]: ")) == (1, True)


def test_a_service_that_would_lose_its_address_is_told(tmp_path: Path) -> None:
    world = World()
    world.objects["services"] = [service("web/nginx"), service("web/free")]
    world.objects["virtualips"] = [claim("10.252.252.100", "web/nginx")]
    world.objects["ipaddresspools"] = [
        stored("IPAddressPool", "production", {"addresses": ["10.252.252.100/30"]})
    ]
    code, lines = said(tmp_path, POOL, "--cluster", world=world)
    assert code == 1
    assert lines[0] == (
        "cluster: Service web/nginx: status.loadBalancer: would lose 10.252.252.100 and get 198.51.100.0: "
        "requested address 10.252.252.100 is not in any pool"
    )
    assert (
        said(tmp_path, POOL.replace("198.51.100.0/24", "10.252.252.0/24"), "--cluster", world=world)[0] == 0
    )


def test_services_without_an_address_are_problems_of_a_cluster_alone() -> None:
    world = World()
    world.objects["ipaddresspools"] = [
        stored("IPAddressPool", "production", {"addresses": ["10.252.252.100/30"]})
    ]
    world.objects["services"].append(
        service("web/shop", annotations={"metallb.io/address-pool": "prodution"})
    )
    result = world.run("validate", "--cluster")
    assert result.exit_code == 1
    assert "cluster: Service web/shop: metadata.annotations.metallb.io/address-pool: pool" in result.stdout
    assert "web/nginx" not in result.stdout


def test_the_clusters_own_addresses_nodes_and_secrets_are_known_with_cluster(tmp_path: Path) -> None:
    world = World()
    world.objects["nodes"] = [node("n1", rack="a")]
    world.objects["services"] = []
    world.objects["servicecidrs"] = [
        {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.252.252.128/25"]}}
    ]
    text = POOL.replace("198.51.100.0/24", "10.252.252.0/24") + L2 + PEER
    text += "  nodeSelectors: [{matchLabels: {rack: z}}]\n  passwordSecret: {name: absent}\n"
    code, lines = said(tmp_path, text, "--cluster", "--strict", world=world)
    assert code == 1
    told = "\n".join(lines)
    assert "overlaps with Node n1, the Service network (10.252.252.128/25, ServiceCIDR kubernetes)" in told
    assert "no Node has these labels" in told
    assert 'Secret "absent" does not exist' in told
    world.objects["secrets"] = [
        {"metadata": {"name": "absent", "namespace": SYSTEM}, "type": "Opaque", "data": {"password": "eA=="}}
    ]
    assert "has type Opaque" in "\n".join(said(tmp_path, text, "--cluster", "--strict", world=world)[1])
    world.forbidden = {"secrets"}
    path = tmp_path / "f.yaml"
    assert "not allowed to read Secrets" in world.run("validate", str(path), "--cluster", "--strict").stderr


def test_objects_outside_of_our_namespace_are_not_part_of_the_configuration(tmp_path: Path) -> None:
    world = World()
    world.objects["services"] = []
    text = POOL.replace("{name: production}", "{name: production, namespace: other}") + asks(
        "a", "production"
    )
    _, lines = said(tmp_path, text, "--cluster", world=world)
    assert "metalbgp stands in metallb-system" in lines[0]


def test_annotations_of_a_class_that_nobody_serves_are_a_warning(tmp_path: Path) -> None:
    world = World()
    world.objects["services"] = []
    text = POOL + asks("a", "nowhere", loadBalancerClass="x/y")
    code, lines = said(tmp_path, text, "--cluster", world=world)
    assert (code, 'spec.loadBalancerClass: "x/y" is not ours' in lines[0]) == (0, True)


def test_what_cannot_be_changed_is_told_before_the_api_server_does(tmp_path: Path) -> None:
    world = World()
    world.objects["services"] = []
    spec = {"myASN": 64512, "peerASN": 64513, "peerAddress": "192.0.2.1", "enableGracefulRestart": True}
    world.objects["bgppeers"] = [stored("BGPPeer", "tor", spec)]
    code, lines = said(tmp_path, PEER + "  enableGracefulRestart: false\n", "--cluster", world=world)
    assert (code, lines[0]) == (
        1,
        "9: BGPPeer tor: spec.enableGracefulRestart: cannot be changed once the peer is there (it is true)",
    )
    assert said(tmp_path, PEER + "  enableGracefulRestart: true\n", "--cluster", world=world)[0] == 0


def test_an_object_without_a_namespace_is_told_where_kubectl_would_put_it(tmp_path: Path) -> None:
    world = World()
    world.objects["services"] = []
    words = "kubectl apply puts it into web; only metallb-system is read"
    told = said(tmp_path, POOL + L2, "--cluster", "--strict", world=world)[1]
    assert sum(words in line for line in told) == 2
    world.namespace = SYSTEM
    assert said(tmp_path, POOL + L2, "--cluster", "--strict", world=world) == (0, [])


def test_a_service_gets_the_families_of_the_cluster(tmp_path: Path) -> None:
    world = World()
    world.objects["services"] = []
    world.objects["servicecidrs"] = [
        {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["fd00:10::/112"]}}
    ]
    code, lines = said(tmp_path, POOL + asks("a"), "--cluster", world=world)
    assert (code, "has no IPv6 addresses" in lines[0]) == (1, True)
    assert said(tmp_path, POOL + asks("a", ipFamilies=["IPv4"]), "--cluster", world=world)[0] == 0


def test_without_rights_the_rest_is_judged_and_said(tmp_path: Path) -> None:
    world = World()
    world.forbidden = {"services", "nodes", "virtualips", "ipaddresspools", "namespaces"}
    (tmp_path / "f.yaml").write_text(POOL)
    result = world.run("validate", str(tmp_path / "f.yaml"), "--cluster")
    assert result.exit_code == 0
    assert "not allowed to read" in result.stderr
    world.unreachable = True
    assert world.run("validate", "--cluster").exit_code == 1
