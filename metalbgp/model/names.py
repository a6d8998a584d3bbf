"""Names that several rooms must agree on: one label, one Lease, one Secret, one annotation.

Elsewhere: kinds and paths are cluster/resources.py; k8s/metalbgp.yaml grants rights by these names.
"""

from typing import Final

INSTALLATION: Final = "metalbgp.io/installation"  # label of everything that one installation owns
LEASE: Final = "metalbgp-controller"  # held by the replica that leads
SPEAKER_SECRET: Final = "metalbgp-speaker"  # noqa: S105  # its name: where the controller puts resolved passwords
FROM_POOL: Final = "metallb.io/ip-allocated-from-pool"  # annotation that we write on a Service
ADDRESS_ALLOCATED: Final = "metalbgp.io/AddressAllocated"  # condition of a Service: why it has none
VALID: Final = "metalbgp.io/Valid"  # condition of a configuration object
