"""Names that several rooms must agree on: one label, one Lease, one Secret, one annotation.

Elsewhere: kinds and paths are cluster/resources.py; k8s/metalbgp.yaml grants rights by these names.
"""

from typing import Final

INSTALLATION: Final = "metalbgp.io/installation"  # label of everything that one installation owns
LEASE: Final = "metalbgp-controller"  # held by the replica that leads
SPEAKER_SECRET: Final = "metalbgp-speaker"  # noqa: S105  # its name: where the controller puts resolved passwords
HEARTBEAT_KEY: Final = "heartbeat.key"  # entry of that Secret: what speakers sign L2 heartbeats with
HEARTBEAT_KEY_SIZE: Final = 32  # bytes
PART_OF: Final = "app.kubernetes.io/part-of"  # label of what a manifest of ours made; a Namespace has it too
OURS: Final = "metalbgp"
# MetalLB's names, so that what it left behind is taken over and not in the way.
WEBHOOK_SECRET: Final = "metallb-webhook-cert"  # noqa: S105  # its name: our CA and the serving certificate
WEBHOOK_SERVICE: Final = "metallb-webhook-service"
WEBHOOK_CONFIGURATION: Final = "metallb-webhook-configuration"
FROM_POOL: Final = "metallb.io/ip-allocated-from-pool"  # annotation that we write on a Service
ADDRESS_ALLOCATED: Final = "metalbgp.io/AddressAllocated"  # condition of a Service: why it has none
VALID: Final = "metalbgp.io/Valid"  # condition of a configuration object
SPEAKER_PODS: Final = "app=metallb,component=speaker"  # as k8s/metalbgp.yaml labels them, and MetalLB's
