"""A real Kubernetes cluster and an FRR router in network namespaces, for one machine and one user: root.

In:  the clone, Debian's packages, Go modules.
Out: `lab up` … `lab down`; for tests, `from lab.cluster import Lab`.
Elsewhere: how to use it in docs/development.md; the product itself in metalbgp/.
"""
