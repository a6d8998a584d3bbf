"""The kinds that we speak of, and their paths.

In:  group, version and plural.
Out: Resource values with `path(namespace, name)`; `Reference`, what an Event points at.
Elsewhere: their JSON: decode.py (Kubernetes' own kinds) and config/ (metallb.io, metalbgp.io).
"""

from typing import Final

from msgspec import Struct


class Resource(Struct, frozen=True):
    """One kind: `path` gives the collection, or one object of it."""

    group: str  # "" is the core group
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [root]
        if namespace and self.namespaced:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/".join(parts)

    def words(self, namespace: str = "", name: str = "") -> str:
        """How messages name it: `services default/web`."""
        place = "/".join(part for part in (namespace, name) if part)
        return f"{self.plural} {place}" if place else self.plural


class Reference(Struct, frozen=True):
    """An object that an Event is about."""

    resource: Resource
    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""


SERVICES: Final = Resource("", "v1", "services", "Service")
ENDPOINT_SLICES: Final = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
NODES: Final = Resource("", "v1", "nodes", "Node", namespaced=False)
NAMESPACES: Final = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
PODS: Final = Resource("", "v1", "pods", "Pod")
SECRETS: Final = Resource("", "v1", "secrets", "Secret")
CONFIG_MAPS: Final = Resource("", "v1", "configmaps", "ConfigMap")
EVENTS: Final = Resource("", "v1", "events", "Event")
LEASES: Final = Resource("coordination.k8s.io", "v1", "leases", "Lease")
DAEMON_SETS: Final = Resource("apps", "v1", "daemonsets", "DaemonSet")
CRDS: Final = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
VALIDATING_WEBHOOKS: Final = Resource(
    "admissionregistration.k8s.io",
    "v1",
    "validatingwebhookconfigurations",
    "ValidatingWebhookConfiguration",
    namespaced=False,
)

VIRTUAL_IPS: Final = Resource("metalbgp.io", "v1alpha1", "virtualips", "VirtualIP", namespaced=False)
SPEAKER_CONFIGURATIONS: Final = Resource(
    "metalbgp.io", "v1alpha1", "speakerconfigurations", "SpeakerConfiguration"
)
NODE_STATES: Final = Resource("metalbgp.io", "v1alpha1", "nodestates", "NodeState")
POOL_POLICIES: Final = Resource("metalbgp.io", "v1alpha1", "poolpolicies", "PoolPolicy")
ADDRESS_RESERVATIONS: Final = Resource("metalbgp.io", "v1alpha1", "addressreservations", "AddressReservation")
SPEAKER_ORDERS: Final = Resource("metalbgp.io", "v1alpha1", "speakerorders", "SpeakerOrder")
SERVICE_CIDRS: Final = Resource("networking.k8s.io", "v1", "servicecidrs", "ServiceCIDR", namespaced=False)

IP_ADDRESS_POOLS: Final = Resource("metallb.io", "v1beta1", "ipaddresspools", "IPAddressPool")
BGP_PEERS: Final = Resource("metallb.io", "v1beta2", "bgppeers", "BGPPeer")
BGP_ADVERTISEMENTS: Final = Resource("metallb.io", "v1beta1", "bgpadvertisements", "BGPAdvertisement")
L2_ADVERTISEMENTS: Final = Resource("metallb.io", "v1beta1", "l2advertisements", "L2Advertisement")
COMMUNITIES: Final = Resource("metallb.io", "v1beta1", "communities", "Community")
BFD_PROFILES: Final = Resource("metallb.io", "v1beta1", "bfdprofiles", "BFDProfile")
SERVICE_L2_STATUSES: Final = Resource("metallb.io", "v1beta1", "servicel2statuses", "ServiceL2Status")
SERVICE_BGP_STATUSES: Final = Resource("metallb.io", "v1beta1", "servicebgpstatuses", "ServiceBGPStatus")
CONFIGURATION_STATES: Final = Resource("metallb.io", "v1beta1", "configurationstates", "ConfigurationState")
