"""Laws that need a real API server (etcd and kube-apiserver, about 3 s for the session)."""

from tests.apiserver import apiserver

__all__ = ["apiserver"]
