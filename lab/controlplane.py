"""etcd, kube-apiserver, kube-controller-manager, kube-scheduler: what each is started with.

In:  Settings; certificates made.
Out: argument lists.
Elsewhere: the order of starting in cluster.py.
"""

from __future__ import annotations

from pathlib import Path

from lab.settings import API_PORT, CONTROL, SERVICE_CIDRS, Settings


def etcd(settings: Settings, binaries: Path) -> list[str | Path]:
    """One member without fsync: nobody mourns a lab's data."""
    return [
        binaries / "etcd",
        "--name=lab",
        f"--data-dir={settings.data() / 'etcd'}",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=lab=http://127.0.0.1:2380",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def apiserver(settings: Settings, binaries: Path) -> list[str | Path]:
    """As kubeadm starts it, plus what a control plane without kube-proxy and DNS needs."""
    pki = settings.pki
    return [
        binaries / "kube-apiserver",
        "--etcd-servers=http://127.0.0.1:2379",
        f"--advertise-address={CONTROL.address}",
        f"--secure-port={API_PORT}",
        f"--service-cluster-ip-range={','.join(SERVICE_CIDRS)}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--endpoint-reconciler-type=lease",
        "--enable-aggregator-routing=true",  # webhooks by endpoint address: no kube-proxy runs here
        "--kubelet-preferred-address-types=InternalIP",  # logs and exec without DNS
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
        f"--kubelet-client-certificate={pki / 'apiserver-kubelet-client.crt'}",
        f"--kubelet-client-key={pki / 'apiserver-kubelet-client.key'}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki / 'sa.pub'}",
        f"--service-account-signing-key-file={pki / 'sa.key'}",
        f"--proxy-client-cert-file={pki / 'front-proxy-client.crt'}",
        f"--proxy-client-key-file={pki / 'front-proxy-client.key'}",
        f"--requestheader-client-ca-file={pki / 'front-proxy-ca.crt'}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
    ]


def controller_manager(settings: Settings, binaries: Path) -> list[str | Path]:
    """Nodes bring their pod ranges along (nodes.py), so none is allocated here."""
    kubeconfig = settings.run / "cp" / "kube-controller-manager.kubeconfig"
    pki = settings.pki
    return [
        binaries / "kube-controller-manager",
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--flex-volume-plugin-dir={settings.run / 'cp' / 'volume-plugins'}",
        "--allocate-node-cidrs=false",
        f"--service-account-private-key-file={pki / 'sa.key'}",
        f"--root-ca-file={pki / 'ca.crt'}",
        f"--cluster-signing-cert-file={pki / 'ca.crt'}",
        f"--cluster-signing-key-file={pki / 'ca.key'}",
        f"--requestheader-client-ca-file={pki / 'front-proxy-ca.crt'}",
        "--kube-api-qps=200",  # a burst of services is to measure the load balancer, not this client's brake
        "--kube-api-burst=400",
    ]


def scheduler(settings: Settings, binaries: Path) -> list[str | Path]:
    """With its defaults."""
    kubeconfig = settings.run / "cp" / "kube-scheduler.kubeconfig"
    return [
        binaries / "kube-scheduler",
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
    ]
