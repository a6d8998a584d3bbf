"""The doctor's checks on values: kube-proxy's ConfigMap in all its shapes first of all."""

import pytest

from metalbgp.cli import checks
from metalbgp.cli.status_lines import Counts
from metalbgp.model.report import NodeReport

KUBEADM = """
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
ipvs:
  strictARP: {strict}
mode: {mode}
"""


def config_map(mode: str, strict: str = "false") -> dict[str, str]:
    return {"config.conf": KUBEADM.format(mode=mode, strict=strict), "kubeconfig.conf": "kind: Config"}


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ('"iptables"', "mode iptables"),
        ("nftables", "mode nftables"),
        ('""', "no mode is set, so iptables"),
        ("null", "no mode is set, so iptables"),
    ],
)
def test_other_modes_than_ipvs_do_not_need_strict_arp(mode: str, said: str) -> None:
    found = checks.strict_arp(config_map(mode))
    assert (found.verdict, found.text) == ("ok", f"{said}: strictARP is not needed")


def test_ipvs_with_strict_arp_is_fine() -> None:
    found = checks.strict_arp(config_map("ipvs", "true"))
    assert (found.verdict, found.text) == ("ok", "mode ipvs with strictARP: true")


def test_ipvs_without_strict_arp_is_bad_and_the_fix_is_the_command_that_users_know() -> None:
    found = checks.strict_arp(config_map("ipvs"))
    assert found.verdict == "bad"
    assert found.remedy == (
        "kubectl get configmap kube-proxy -n kube-system -o yaml | "
        'sed -e "s/strictARP: false/strictARP: true/" | kubectl apply -f - -n kube-system',
        "then: kubectl rollout restart -n kube-system daemonset kube-proxy",
    )


@pytest.mark.parametrize("text", ["mode: ipvs\n", "mode: IPVS\nipvs: {}\n", "mode: ipvs\nipvs: null\n"])
def test_where_the_word_does_not_stand_sed_would_do_nothing_so_the_fix_is_an_edit(text: str) -> None:
    found = checks.strict_arp({"config.conf": f"kind: KubeProxyConfiguration\n{text}"})
    assert found.verdict == "bad"
    assert found.remedy[0].startswith("kubectl edit configmap -n kube-system kube-proxy")


def test_a_configuration_under_another_key_is_found() -> None:
    text = "kind: KubeProxyConfiguration\nmode: ipvs\nipvs: {strictARP: true}\n"
    assert checks.strict_arp({"kube-proxy-config.yaml": text}).verdict == "ok"


@pytest.mark.parametrize(
    "data", [{"config.conf": "a: [b"}, {"config.conf": "just words"}, {}, {"config.conf": ""}]
)
def test_what_cannot_be_read_is_said_and_not_guessed(data: dict[str, str]) -> None:
    found = checks.strict_arp(data)
    assert found.verdict == "warn"
    assert found.text.startswith("its mode cannot be told: ")
    assert "\n" not in found.text


def test_no_config_map_says_what_that_means() -> None:
    found = checks.strict_arp(None)
    assert found.verdict == "ok"
    assert "k3s, Cilium" in found.text
    assert "curl -s localhost:10249/proxyMode" in found.text


def test_missing_kinds_are_named() -> None:
    assert checks.kinds(checks.KINDS, "metallb-system").verdict == "ok"
    found = checks.kinds(checks.KINDS - {"virtualips.metalbgp.io"}, "metallb-system")
    assert (found.verdict, found.text) == ("bad", "1 of 15 kinds are missing: virtualips.metalbgp.io")
    assert checks.kinds(None, "metallb-system").verdict == "warn"


def test_controllers() -> None:
    assert checks.controller(Counts(2, 2), "controller-a", "", "x").verdict == "ok"
    assert checks.controller(Counts(2, 1), "controller-a", "", "x").verdict == "warn"
    assert checks.controller(Counts(2, 0), "", "", "x").verdict == "bad"
    assert checks.controller(Counts(2, 2), "", "nobody leads", "x").verdict == "bad"
    assert "--replicas=2" in checks.controller(Counts(1, 1), "controller-a", "", "x").text


def test_a_reflex_without_a_realtime_class_is_a_warning_that_names_the_nodes() -> None:
    def report(node: str, realtime: str) -> NodeReport:
        return NodeReport(node=node, realtime=realtime)

    assert checks.realtime([report("n1", "fifo"), report("n2", "deadline")]).verdict == "ok"
    found = checks.realtime([report("n1", "fifo"), report("n2", "nice"), report("n3", "")])
    assert found.verdict == "warn"
    assert "the reflex is not heard on n3; only nice on n2" in found.text


def test_speakers_behind_the_configuration_are_named() -> None:
    found = checks.up_to_date([NodeReport(node="n1", configuration=3), NodeReport(node="n2")], 3)
    assert (found.verdict, found.text) == ("warn", "an older configuration is in force on n2")
