"""`metalbgp uninstall` withdraws before it removes, keeps what is the users', and needs --yes."""

from typing import Any

import pytest

from metalbgp.cli import uninstall
from metalbgp.cli.api import refusal
from tests.unit.cli.world import SYSTEM, World

PART = {"app.kubernetes.io/part-of": "metalbgp"}


def named(name: str, namespace: str = "", **labels: str) -> dict[str, Any]:
    place = {"namespace": namespace} if namespace else {}
    return {"metadata": {"name": name, "labels": labels, **place}}


class Installed(World):
    """Deleting a DaemonSet or Deployment takes its Pods with it, two looks later."""

    def __init__(self) -> None:
        super().__init__()
        objects = self.objects
        for plural in ("deployments", "daemonsets"):
            for one in objects[plural]:
                one["metadata"] |= {"namespace": SYSTEM, "labels": PART}
        objects["services"][0]["status"] = {"loadBalancer": {"ingress": [{"ip": "10.252.252.100"}]}}
        objects["leases"][0]["metadata"]["namespace"] = SYSTEM
        objects["serviceaccounts"] = [named("controller", SYSTEM, **PART), named("default", SYSTEM)]
        objects["clusterroles"] = [named("metalbgp-viewer", **PART), named("view")]
        objects["validatingadmissionpolicies"] = [named("metalbgp-owned", **PART)]
        objects["secrets"] = [
            named(name, SYSTEM) for name in ("metalbgp-speaker", "metallb-webhook-cert", "tor-password")
        ]
        objects["validatingwebhookconfigurations"] = [named("metallb-webhook-configuration", **PART)]
        objects["ipaddresspools"] = [named("production", SYSTEM)]
        objects["bgppeers"] = [named("tor-a", SYSTEM), named("tor-b", SYSTEM)]
        objects["customresourcedefinitions"] = [
            named("ipaddresspools.metallb.io"),
            named("other.example.com"),
        ]
        self.stubborn = ""  # component whose Pods stay
        self.policy_answers = 0  # times that the deleted policy still refuses

    def write(self, method: str, path: str, plural: str, found: list[dict[str, Any]], body: Any) -> None:
        if plural == "virtualips" and self.policy_answers:
            self.policy_answers -= 1
            raise refusal(403, b'{"message": "ValidatingAdmissionPolicy metalbgp-owned denied it"}', path)
        super().write(method, path, plural, found, body)
        ended = {"daemonsets": "speaker", "deployments": "controller"}.get(plural, "")
        if ended and ended != self.stubborn:
            pods = self.objects["pods"]
            self.objects["pods"] = [one for one in pods if one["metadata"]["labels"]["component"] != ended]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uninstall, "PACE", 0.0)


STEPS = [
    "  delete DaemonSet speaker: each speaker withdraws its routes, gives up its L2 addresses, and ends",
    "  delete Deployment controller",
    "  delete the admission policies and the webhook of our objects",
    "  delete 1 VirtualIP, 1 SpeakerConfiguration, 3 NodeStates",
    "  delete the Lease, and the Secrets with the copied passwords and the webhook's key",
    "  delete rights and accounts of the namespace",
    "  delete ClusterRoles and their bindings",
]
STAYS = [
    "stays:",
    "  1 CustomResourceDefinition   (kubectl delete -f crds.yaml deletes them with every object of theirs)",
    "  1 IPAddressPool, 2 BGPPeers   (yours; a new installation finds them)",
    "  Namespace metallb-system   (your objects live in it)",
    "  1 Service with an address in its status, announced no longer   (a new installation keeps it)",
]


def test_without_yes_it_says_what_it_would_do_and_writes_nothing() -> None:
    world = Installed()
    result = world.run("uninstall")
    assert result.stdout.splitlines() == ["this would be done (--yes does it):", *STEPS, *STAYS]
    assert world.written == []
    assert result.exit_code == 0


def test_speakers_end_first_and_rights_go_last() -> None:
    world = Installed()
    result = world.run("uninstall", "--yes")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == ["metalbgp in namespace metallb-system:", *STEPS, *STAYS]
    kinds = [path.rsplit("/", 2)[1] for _, path in world.written]
    assert kinds == [
        "daemonsets",
        "deployments",
        "validatingadmissionpolicies",
        "validatingwebhookconfigurations",
        "virtualips",
        "speakerconfigurations",
        "nodestates",
        "nodestates",
        "nodestates",
        "leases",
        "secrets",
        "secrets",
        "serviceaccounts",
        "clusterroles",
    ]


def test_what_is_the_users_is_never_touched() -> None:
    world = Installed()
    world.run("uninstall", "--yes")
    for plural in ("ipaddresspools", "bgppeers", "customresourcedefinitions", "services", "namespaces"):
        assert not any(path.rsplit("/", 2)[1] == plural for _, path in world.written), plural
    assert [one["metadata"]["name"] for one in world.objects["secrets"]] == ["tor-password"]
    assert [one["metadata"]["name"] for one in world.objects["serviceaccounts"]] == ["default"]
    assert [one["metadata"]["name"] for one in world.objects["clusterroles"]] == ["view"]


def test_speakers_that_do_not_end_stop_it_before_anything_else_goes() -> None:
    world = Installed()
    world.stubborn = "speaker"
    result = world.run("uninstall", "--yes", "--timeout", "0")
    assert result.exit_code == 1
    assert "still there after 0 s: speaker-n1 (n1), speaker-n2 (n2), speaker-n3 (n3)" in result.stderr
    assert len(world.written) == 1


def test_a_policy_that_still_refuses_for_a_moment_is_waited_for() -> None:
    world = Installed()
    world.policy_answers = 2
    assert world.run("uninstall", "--yes").exit_code == 0
    assert world.objects["virtualips"] == []


def test_it_can_be_run_again() -> None:
    world = Installed()
    world.run("uninstall", "--yes")
    result = world.run("uninstall", "--yes")
    assert result.stdout.splitlines()[0] == "nothing of metalbgp is installed in namespace metallb-system"
    assert result.exit_code == 0


def test_what_another_installation_needs_stays() -> None:
    world = Installed()
    world.objects["deployments"].append(named("controller", "lb-two", **PART))
    result = world.run("uninstall", "--yes")
    assert result.stdout.splitlines()[-1] == (
        "  ClusterRoles and the admission policy   (another installation uses them)"
    )
    assert len(world.objects["clusterroles"]) == 2


def test_without_the_rights_it_is_one_line() -> None:
    world = Installed()
    world.forbidden = {"clusterroles"}
    result = world.run("uninstall")
    assert result.stderr == "note: not allowed to list clusterroles\n"
