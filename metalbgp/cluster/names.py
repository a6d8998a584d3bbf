"""Where this process belongs: its namespace. (Environment and the ServiceAccount's files.)"""

import os

from metalbgp.cluster.access import SERVICE_ACCOUNT


def own_namespace() -> str:
    """METALBGP_NAMESPACE, METALLB_NAMESPACE, else the ServiceAccount's, else metallb-system."""
    for name in ("METALBGP_NAMESPACE", "METALLB_NAMESPACE"):
        if os.environ.get(name):
            return os.environ[name]
    file = SERVICE_ACCOUNT / "namespace"
    return file.read_text().strip() if file.exists() else "metallb-system"
