"""A Kubernetes node in a namespace: kubelet, CNI's bridge, kube-proxy.

In:  Settings, a Node; the ConfigMap kube-proxy as it is in the cluster.
Out: configuration files, argument lists, and the objects that the cluster must hold for them.
Elsewhere: containerd in containerd.py, cgroups in cgroups.py, routes between the nodes' pods in network.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import yaml

from lab import containerd
from lab.settings import POD_CIDRS, Node, Settings

KUBELET_PORT: Final = 10250
KUBE_PROXY_HEALTH_PORT: Final = 10256


def prepare(settings: Settings, node: Node) -> None:
    """Write the configuration of kubelet and of the pod network."""
    own = settings.run / node.name
    own.mkdir(parents=True, exist_ok=True)
    (own / "resolv.conf").write_text(f"nameserver {node.address}\n")
    (own / "kubelet.json").write_text(json.dumps(_kubelet(settings, node), indent=1))
    (own / "cni").mkdir(exist_ok=True)
    (own / "cni" / "10-bridge.conflist").write_text(json.dumps(_cni(settings, node), indent=1))


def kubelet(settings: Settings, node: Node, binaries: Path) -> list[str | Path]:
    """The command of kubelet."""
    own = settings.run / node.name
    return [
        binaries / "kubelet",
        f"--config={own / 'kubelet.json'}",
        f"--kubeconfig={own / 'kubelet.kubeconfig'}",
        f"--root-dir={settings.data() / node.name / 'kubelet'}",
        f"--cert-dir={own / 'kubelet-pki'}",
        f"--hostname-override={node.name}",
        f"--node-ip={node.address},{node.address6}",
    ]


def kube_proxy(settings: Settings, node: Node, binaries: Path, config: str) -> list[str | Path]:
    """Take the cluster's own configuration; only the path of the credentials is this machine's."""
    own = settings.run / node.name
    document = yaml.safe_load(config)
    document.setdefault("clientConnection", {})["kubeconfig"] = str(own / "kube-proxy.kubeconfig")
    (own / "kube-proxy.yaml").write_text(yaml.safe_dump(document))
    return [
        binaries / "kube-proxy",
        f"--config={own / 'kube-proxy.yaml'}",
        f"--hostname-override={node.name}",
    ]


def kube_proxy_config_map() -> dict[str, Any]:
    """The ConfigMap as kubeadm makes it, where users and their tools look for strictARP and the mode."""
    config = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "bindAddress": "0.0.0.0",
        "clientConnection": {"kubeconfig": "/var/lib/kube-proxy/kubeconfig.conf"},
        "clusterCIDR": ",".join(POD_CIDRS),
        # Those sysctls cannot be written in a namespace.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
            "udpTimeout": "0s",
            "udpStreamTimeout": "0s",
        },
        "ipvs": {"strictARP": False},
        "mode": "nftables",
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "kube-proxy", "namespace": "kube-system", "labels": {"app": "kube-proxy"}},
        "data": {"config.conf": yaml.safe_dump(config)},
    }


def node_object(node: Node) -> dict[str, Any]:
    """The Node before its kubelet comes: with the pod ranges that CNI and the routes already use."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name, "labels": {"kubernetes.io/hostname": node.name}},
        "spec": {"podCIDR": node.pods, "podCIDRs": node.pod_cidrs},
    }


def _kubelet(settings: Settings, node: Node) -> dict[str, Any]:
    own = settings.run / node.name
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(settings.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(settings.pki / f"kubelet-{node.name}.crt"),
        "tlsPrivateKeyFile": str(settings.pki / f"kubelet-{node.name}.key"),
        "containerRuntimeEndpoint": f"unix://{containerd.socket(settings, node.name)}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": settings.cgroup(node.name),
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        # The machine is everybody's: no lab evicts for what others use.
        "evictionHard": {
            "memory.available": "0%",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
            "imagefs.inodesFree": "0%",
        },
        "imageGCHighThresholdPercent": 100,
        "localStorageCapacityIsolation": False,
        "makeIPTablesUtilChains": False,
        "serializeImagePulls": False,
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "oomScoreAdj": 0,
        "protectKernelDefaults": False,
        "resolvConf": str(own / "resolv.conf"),
        "clusterDomain": "cluster.local",
        # There is no DNS. The node refuses at once, so that a lookup in a pod fails instead of hanging.
        "clusterDNS": [node.address],
        "podLogsDir": str(settings.data() / node.name / "pod-logs"),
        "volumePluginDir": str(own / "volume-plugins"),
        "shutdownGracePeriod": "0s",
    }


def cni_network(settings: Settings, node: str) -> str:
    """The network's name, with which CNI names its records."""
    return f"{settings.name}-{node}"


def _cni(settings: Settings, node: Node) -> dict[str, Any]:
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": str(settings.run / node.name / "addresses"),
            "ranges": [[{"subnet": node.pods}], [{"subnet": node.pods6}]],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
        },
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "1.0.0", "name": cni_network(settings, node.name), "plugins": [bridge, portmap]}
