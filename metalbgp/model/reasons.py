"""Every reason that metalbgp gives, one class each: its name, its facts, its words, its remedy.

A class name is API: condition reason, event reason, metric label; stable and bounded. A reason is a tagged
Struct, so it survives the trip through JSON, and `match` with assert_never proves that none is forgotten.
Unions at the end say which function may answer with which.
One file because the catalogue of reasons is read as a whole, by people and by the tests.
"""

from msgspec import Struct


class Reason(Struct, frozen=True, tag=True):
    """Base of all; `explain` is one sentence, `remedy` what a person can do ("" when nothing is wrong)."""

    def explain(self) -> str:
        raise NotImplementedError(type(self).__name__)  # a subclass without words is a bug, tests see it

    def lines(self) -> tuple[str, ...]:
        """For a screen: the answer, then a line for each pool that was asked."""
        return (self.explain(),)

    def remedy(self) -> str:
        return ""

    @property
    def name(self) -> str:
        return type(self).__name__


def _each(head: str, pools: tuple[tuple[str, str], ...]) -> str:
    return f"{head}: {'; '.join(words for _, words in pools)}" if pools else head


# ------------------------------------------------------------------ no address


class NoPools(Reason, frozen=True):
    def explain(self) -> str:
        return "there is no IPAddressPool yet"

    def remedy(self) -> str:
        return "kubectl apply an IPAddressPool in the namespace of metalbgp"


class NoClusterIP(Reason, frozen=True):
    def explain(self) -> str:
        return "the Service has no cluster IP, so its address family is unknown"


class UnknownPool(Reason, frozen=True):
    pool: str
    annotation: str
    service: str  # namespace/name
    pools: tuple[str, ...]
    near: str = ""

    def explain(self) -> str:
        known = ", ".join(self.pools) or "none"
        hint = f'. Did you mean "{self.near}"?' if self.near else ""
        return f'pool "{self.pool}" does not exist; pools: {known}{hint}'

    def remedy(self) -> str:
        if not self.near:
            return f'create the IPAddressPool "{self.pool}" or change the annotation'
        namespace, name = self.service.split("/")
        return f"kubectl annotate -n {namespace} service {name} {self.annotation}={self.near} --overwrite"


class PoolExhausted(Reason, frozen=True):
    pool: str
    family: str  # IPv4, IPv6
    size: int
    reserved: int = 0  # of them, for others
    cooling: int = 0  # given up, not given again yet
    occupied: str = ""  # the cluster's own, that what is left belongs to

    def explain(self) -> str:
        if not self.size:
            return f'pool "{self.pool}" has no {self.family} addresses'
        parts = [f"{self.size:,} in all"]
        parts += [f"{self.reserved:,} reserved"] if self.reserved else []
        parts += [f"{self.cooling:,} cooling"] if self.cooling else []
        parts += [f"what is left belongs to {self.occupied}"] if self.occupied else []
        return f'pool "{self.pool}" has no free {self.family} address ({", ".join(parts)})'

    def remedy(self) -> str:
        return f'add a range to spec.addresses of IPAddressPool "{self.pool}"'


class PoolRestricted(Reason, frozen=True):
    pool: str
    why: str  # namespace, labels

    def explain(self) -> str:
        return f'pool "{self.pool}" is reserved for others: its serviceAllocation does not fit the {self.why}'


class PoolManual(Reason, frozen=True):
    pool: str

    def explain(self) -> str:
        return f'pool "{self.pool}" has autoAssign: false and is used only by Services that name it'


class BadRequest(Reason, frozen=True):
    """A requested address or combination that can never be served as written."""

    field: str
    value: str
    why: str

    def explain(self) -> str:
        return f'{self.field}: "{self.value}": {self.why}'


class AddressNotInPool(Reason, frozen=True):
    address: str
    pool: str = ""  # the pool that was asked for as well; "": any

    def explain(self) -> str:
        where = f'pool "{self.pool}"' if self.pool else "any pool"
        return f"requested address {self.address} is not in {where}"


class AddressAvoided(Reason, frozen=True):
    address: str
    pool: str

    def explain(self) -> str:
        return f'{self.address} ends in .0 or .255 and pool "{self.pool}" has avoidBuggyIPs'


class AddressTaken(Reason, frozen=True):
    address: str
    holder: str

    def explain(self) -> str:
        return f"{self.address} is held by {self.holder}"


class NotShared(Reason, frozen=True):
    address: str
    holder: str
    why: str  # key, policy, selector

    def explain(self) -> str:
        return f"{self.address} is held by {self.holder}, which does not share it: {self.why}"


class PortTaken(Reason, frozen=True):
    address: str
    port: int
    protocol: str
    holder: str

    def explain(self) -> str:
        return f"{self.address} is shared, but {self.holder} already uses {self.protocol} port {self.port}"


class FamilyMismatch(Reason, frozen=True):
    wanted: str
    asked: str

    def explain(self) -> str:
        return f"the Service needs {self.wanted}, but the requested addresses are {self.asked}"


class NoDualStackPool(Reason, frozen=True):
    pools: tuple[tuple[str, str], ...] = ()  # (pool, words)

    def explain(self) -> str:
        return _each(
            "no pool has both an IPv4 and an IPv6 address free, and ipFamilyPolicy is RequireDualStack",
            self.pools,
        )

    def lines(self) -> tuple[str, ...]:
        return self.explain().partition(":")[0], *(words for _, words in self.pools)

    def remedy(self) -> str:
        return "use PreferDualStack, or pair two pools by secondFamilyFrom in a PoolPolicy"


class NoPoolFits(Reason, frozen=True):
    """Automatic choice found nothing: the reason of each pool."""

    pools: tuple[tuple[str, str], ...]  # (pool, words)

    def explain(self) -> str:
        if not self.pools:
            return "no pool may be used without being named"
        return _each("no pool can serve it", self.pools)

    def lines(self) -> tuple[str, ...]:
        if not self.pools:
            return (self.explain(),)
        return "no pool can serve it", *(words for _, words in self.pools)


class AddressReserved(Reason, frozen=True):
    address: str
    reservation: str
    whose: str  # the Service or Services that it is for

    def explain(self) -> str:
        return f"{self.address} is reserved for {self.whose} by AddressReservation {self.reservation}"

    def remedy(self) -> str:
        return f"kubectl get addressreservations -A, or ask whoever owns {self.reservation}"


class AddressCooling(Reason, frozen=True):
    """Given up by its Service and not given to others yet (reuse delay), or kept for its return (sticky)."""

    address: str
    kept_for: tuple[str, ...] = ()
    until: str = ""  # RFC 3339; "": no end

    def explain(self) -> str:
        whom = f"is kept for {' and '.join(self.kept_for)}" if self.kept_for else "was given up a while ago"
        return f"{self.address} {whom}, " + (f"until {self.until}" if self.until else "without end")


class AddressOccupied(Reason, frozen=True):
    """The guard: a Node or the cluster's own networks use it (PoolPolicy spec.clusterAddresses)."""

    address: str
    owner: str  # "Node n1", "the Pod network of Node n1 (10.1.0.0/24)", "the Service network …"

    def explain(self) -> str:
        return f"{self.address} belongs to {self.owner}"

    def remedy(self) -> str:
        return "take it out of the pool, or allow it by clusterAddresses: Allow in a PoolPolicy"


class AddressAnswers(Reason, frozen=True):
    """The probe: somebody on the segment already answers for it."""

    address: str
    mac: str
    node: str  # that asked
    interface: str = ""

    def explain(self) -> str:
        where = f"{self.node} on {self.interface}" if self.interface else self.node
        return f"{self.address} is already used on the segment: {self.mac} answered a probe from {where}"

    def remedy(self) -> str:
        return "find the machine with that MAC address, or take the address out of the pool"


class QuotaReached(Reason, frozen=True):
    pool: str
    namespace: str
    limit: int
    used: int
    policy: str

    def explain(self) -> str:
        return (
            f"namespace {self.namespace} holds {self.used} of at most {self.limit} addresses of pool "
            f'"{self.pool}" (PoolPolicy {self.policy})'
        )

    def remedy(self) -> str:
        return f"delete a Service of {self.namespace}, or raise the quota in PoolPolicy {self.policy}"


class ClaimTooLarge(Reason, frozen=True):
    """A VirtualIP is read by every speaker and kept in etcd: it has a limit of its own (contracts.md)."""

    address: str
    size: int  # bytes
    limit: int

    def explain(self) -> str:
        return (
            f"the VirtualIP of {self.address} would have {self.size:,} bytes, {self.limit:,} are the limit: "
            "too many Services share the address, or too many nodes host their endpoints"
        )

    def remedy(self) -> str:
        return "let fewer Services share one address, or use externalTrafficPolicy: Cluster"


# ------------------------------------------------------------------ why this address


class Kept(Reason, frozen=True):
    pool: str
    held: tuple[str, ...]  # addresses that it held already

    def explain(self) -> str:
        return f"kept {', '.join(self.held)}, from pool {self.pool}"


class FirstFree(Reason, frozen=True):
    pool: str
    asked: str  # how the pool was chosen: "annotation …", "automatic", "serviceAllocation"

    def explain(self) -> str:
        return f"first free address of pool {self.pool} ({self.asked})"


class Requested(Reason, frozen=True):
    pool: str
    field: str

    def explain(self) -> str:
        return f"asked for by {self.field}, in pool {self.pool}"


class Reserved(Reason, frozen=True):
    pool: str
    reservation: str

    def explain(self) -> str:
        return f"reserved for it by AddressReservation {self.reservation}, in pool {self.pool}"


class Returned(Reason, frozen=True):
    """Sticky: it had the address before, and the address was kept for it."""

    pool: str
    kept_for: str  # namespace/name or namespace#address-id

    def explain(self) -> str:
        return f"the address it had before ({self.kept_for}), kept for it by pool {self.pool}"


# ------------------------------------------------------------------ not announced (here, to that peer)


class NoMatchingAdvertisement(Reason, frozen=True):
    kind: str  # BGPAdvertisement, L2Advertisement
    pool: str

    def explain(self) -> str:
        return f"no {self.kind} selects pool {self.pool} for this Service"

    def remedy(self) -> str:
        article = "an" if self.kind.startswith("L") else "a"
        return f"apply {article} {self.kind} with ipAddressPools: [{self.pool}]"


class NoServingEndpoint(Reason, frozen=True):
    service: str

    def explain(self) -> str:
        return "no endpoint serves (none is ready)"

    def remedy(self) -> str:
        namespace, name = self.service.split("/")
        return f"kubectl get endpointslices -n {namespace} -l kubernetes.io/service-name={name}"


class NoLocalEndpoint(Reason, frozen=True):
    node: str

    def explain(self) -> str:
        return f"externalTrafficPolicy is Local and no endpoint serves on {self.node}"


class NoServingPod(Reason, frozen=True):
    """The speaker watches the Pods of its node; the controller's count follows later, or is away."""

    node: str

    def explain(self) -> str:
        return f"externalTrafficPolicy is Local, and the speaker on {self.node} saw the last Pod there end"

    def remedy(self) -> str:
        return f"kubectl get pods -A --field-selector spec.nodeName={self.node}"


class EndpointsTerminate(Reason, frozen=True):
    node: str

    def explain(self) -> str:
        return (
            f"externalTrafficPolicy is Local, the endpoints on {self.node} terminate, and other nodes serve"
        )


class NodeNotSelected(Reason, frozen=True):
    kind: str  # BGPAdvertisement, L2Advertisement, BGPPeer
    object: str
    node: str

    def explain(self) -> str:
        return f"nodeSelectors of {self.kind} {self.object} do not select {self.node}"


class NodeExcluded(Reason, frozen=True):
    node: str

    def explain(self) -> str:
        return f"{self.node} has label node.kubernetes.io/exclude-from-external-load-balancers"

    def remedy(self) -> str:
        return f"kubectl label node {self.node} node.kubernetes.io/exclude-from-external-load-balancers-"


class NodeNetworkUnavailable(Reason, frozen=True):
    node: str

    def explain(self) -> str:
        return f"{self.node} has condition NetworkUnavailable"


class NoSpeaker(Reason, frozen=True):
    node: str

    def explain(self) -> str:
        return f"no speaker lives on {self.node}"

    def remedy(self) -> str:
        return "kubectl get pods -A -o wide | grep speaker"


class PeerNotListed(Reason, frozen=True):
    advertisement: str
    peer: str

    def explain(self) -> str:
        return f"BGPAdvertisement {self.advertisement} lists other peers than {self.peer}"


class NoPeers(Reason, frozen=True):
    def explain(self) -> str:
        return "there is no BGPPeer"

    def remedy(self) -> str:
        return "apply a BGPPeer"


class FamilyNotCarried(Reason, frozen=True):
    peer: str
    family: str

    def explain(self) -> str:
        return f"the session to {self.peer} does not carry {self.family}"

    def remedy(self) -> str:
        return f"add a {self.family} peer"


class ConflictingAdvertisements(Reason, frozen=True):
    advertisements: tuple[str, ...]
    why: str

    def explain(self) -> str:
        return f"BGPAdvertisements {' and '.join(self.advertisements)} disagree: {self.why}"

    def remedy(self) -> str:
        return "give them the same localPref, or peers, nodes or aggregation lengths that do not meet"


class NoCandidate(Reason, frozen=True):
    """Others stand before this node, and enough of them to outlive it."""

    candidates: tuple[str, ...]
    node: str

    def explain(self) -> str:
        who = ", ".join(self.candidates) or "no node"
        return f"{who} may own the address in L2, {self.node} is not among them"


class OlderConfiguration(Reason, frozen=True):
    held: int
    wanted: int

    def explain(self) -> str:
        return f"planned with configuration {self.wanted}, the speaker holds {self.held} and waits"


class BeingProbed(Reason, frozen=True):
    """PoolPolicy spec.probe: BeforeUse; the claim is in phase probing."""

    def explain(self) -> str:
        return "the segment is being asked whether anybody has the address"


class Ordered(Reason, frozen=True):
    """A person said no (a SpeakerOrder, or an order on the node's own socket): who, why and until when."""

    order: str  # its name
    node: str = ""  # "": on every node
    why: str = ""
    author: str = ""
    until: str = ""  # RFC 3339; "": until somebody takes it back

    def _by(self) -> str:
        where = f" on {self.node}" if self.node else ""
        author = f" by {self.author}" if self.author else ""
        until = f", until {self.until}" if self.until else ""
        return f"{where}{author}{until}{f': {self.why}' if self.why else ''}"


class HeldByOrder(Ordered, frozen=True):
    address: str = ""

    def explain(self) -> str:
        return f"held{self._by()}"

    def remedy(self) -> str:
        node = f" --node {self.node}" if self.node else ""
        return f"metalbgp unhold {self.address}{node}"


class ShutByOrder(Ordered, frozen=True):
    peer: str = ""

    def explain(self) -> str:
        return f"the session is shut{self._by()}"

    def remedy(self) -> str:
        node = f" --node {self.node}" if self.node else ""
        return f"metalbgp unshut {self.peer}{node}"


class Drained(Reason, frozen=True):
    """The node leaves, and another one announces what it did."""

    node: str
    why: str  # drained by whom, cordoned, tainted, shutting down
    other: str = ""  # the first that announces it

    def explain(self) -> str:
        by = f", and {self.other} announces it" if self.other else ""
        return f"{self.node} leaves ({self.why}){by}"


class LastNextHop(Reason, frozen=True):
    """The node leaves, and nobody else announces: it stays, less preferred."""

    node: str
    prefix: str

    def explain(self) -> str:
        return f"{self.node} leaves, and no other node announces {self.prefix}: it stays, less preferred"

    def remedy(self) -> str:
        return "have another node serve and announce it (metalbgp explain says why none does)"


class Releasing(Reason, frozen=True):
    def explain(self) -> str:
        return "the address is being released"


class NotInPool(Reason, frozen=True):
    address: str

    def explain(self) -> str:
        return f"{self.address} is in no pool of the configuration, so no speaker announces it"


class PrefixTooShort(Reason, frozen=True):
    prefix: str
    pool: str
    advertisement: str
    shortest: int  # prefix length of the widest block of the pool that holds the address

    def explain(self) -> str:
        return (
            f"BGPAdvertisement {self.advertisement} aggregates to {self.prefix}, which is wider than "
            f'the /{self.shortest} of pool "{self.pool}"'
        )

    def remedy(self) -> str:
        return f"set its aggregation length to {self.shortest} or more"


class ServiceMayNot(Reason, frozen=True):
    """A Service says something of its routes, and the operator's advertisement does not let it."""

    advertisement: str
    wishes: tuple[str, ...]

    def explain(self) -> str:
        return f"BGPAdvertisement {self.advertisement} lets no Service say: {', '.join(self.wishes)}"

    def remedy(self) -> str:
        return f'its annotation metalbgp.io/service-may: "{",".join(self.wishes)}" would let them'


class SharedWithSelectors(Reason, frozen=True):
    """MetalLB's rule (metallb.md 4.3): Services that share an address must land on one node in L2."""

    advertisements: tuple[str, ...]

    def explain(self) -> str:
        return (
            "a Service with allow-shared-ip is not announced in L2 while L2Advertisement "
            f"{' and '.join(self.advertisements)} chooses Services by serviceSelectors"
        )


class NotInForce(Reason, frozen=True):
    """A field that is accepted and that nothing implements yet (or not on this node)."""

    kind: str
    object: str
    field: str
    why: str = "not implemented yet"

    def explain(self) -> str:
        return f"{self.kind} {self.object}: {self.field} is not in force yet: {self.why}"


# ------------------------------------------------------------------ no session with a router


class NotReached(Reason, frozen=True):
    """What a connection of our own found (bgp/knock.py); another one may find something else."""


class PasswordMissing(Reason, frozen=True):
    def explain(self) -> str:
        return "its password is missing: the Secret in spec.passwordSecret does not exist or has no password"

    def remedy(self) -> str:
        return "create the Secret (type kubernetes.io/basic-auth, key password) in the namespace of metalbgp"


class PeerAddressTaken(Reason, frozen=True):
    """Two BGPPeers for one node with one address: ExaBGP knows a neighbour by its address."""

    peer: str
    address: str

    def explain(self) -> str:
        return f"BGPPeer {self.peer} has the same address {self.address} on this node"

    def remedy(self) -> str:
        return "give them nodeSelectors that no node can satisfy both"


class UnusablePeer(Reason, frozen=True):
    """What no check before the last one found; a session with it would poison all others."""

    why: str

    def explain(self) -> str:
        return self.why


class RefusedByExaBGP(Reason, frozen=True):
    """ExaBGP's own check of the file says no, to a value that none of ours found; none is known."""

    why: str
    keeps: bool = False  # its last good version runs

    def explain(self) -> str:
        keeps = "; its last good version runs on" if self.keeps else ""
        return f"ExaBGP refuses this peer: {self.why}{keeps}"

    def remedy(self) -> str:
        return "change the BGPPeer, and report it: what ExaBGP refuses should have been refused before"


class InterfaceMissing(NotReached, frozen=True):
    interface: str

    def explain(self) -> str:
        return f"this node has no interface {self.interface}"

    def remedy(self) -> str:
        return "let nodeSelectors of the BGPPeer choose the nodes that have it"


class VRFMissing(Reason, frozen=True):
    vrf: str
    other: bool = False  # a device of that name is there, and is no VRF

    def explain(self) -> str:
        if self.other:
            return f"the device {self.vrf} of this node is no VRF"
        return f"this node has no VRF device {self.vrf}"

    def remedy(self) -> str:
        return f"make it on the node (ip link add {self.vrf} type vrf table N), or choose nodes that have it"


class PortNotAllowed(Reason, frozen=True):
    """metalbgp.io/listen-port: ExaBGP runs without capabilities."""

    port: int
    first: int  # net.ipv4.ip_unprivileged_port_start of the node

    def explain(self) -> str:
        return (
            f"this node lets nobody without privileges listen on port {self.port}, only from {self.first} on"
        )

    def remedy(self) -> str:
        port = self.port
        return f"choose a port above, or set sysctl net.ipv4.ip_unprivileged_port_start={port} on the node"


class SourceAddressMissing(NotReached, frozen=True):
    address: str

    def explain(self) -> str:
        return f"this node does not have the address {self.address or 'to connect from'}"

    def remedy(self) -> str:
        return "spec.sourceAddress must be an address of every node that the BGPPeer selects"


class RouterNotHeard(Reason, frozen=True):
    """Unnumbered: the router's address is the source of its router advertisements."""

    interface: str
    refused: str = ""  # why we cannot even listen

    def explain(self) -> str:
        if self.refused:
            return f"cannot listen for router advertisements on {self.interface}: {self.refused}"
        return f"no router advertisement was heard on {self.interface}, so the router's address is unknown"

    def remedy(self) -> str:
        if self.refused:
            return "the speaker needs the capability NET_RAW"
        return "does the router run BGP unnumbered (neighbor IF interface), and is it the one on this link?"


class SeveralRouters(Reason, frozen=True):
    interface: str
    routers: tuple[str, ...]

    def explain(self) -> str:
        return f"several routers advertise themselves on {self.interface}: {', '.join(self.routers)}"

    def remedy(self) -> str:
        return f"write spec.peerAddress: {self.routers[0]}%{self.interface} instead of spec.interface"


class ASNotLearned(Reason, frozen=True):
    """dynamicASN external: the router's number is read from its OPEN."""

    why: str = ""

    def explain(self) -> str:
        return f"the router's AS is not known yet{f': {self.why}' if self.why else ''}"


class NotExternal(Reason, frozen=True):
    asn: int

    def explain(self) -> str:
        return f"spec.dynamicASN is external, and the router is of our own AS {self.asn}"

    def remedy(self) -> str:
        return "write dynamicASN: internal"


class ConnectionRefused(NotReached, frozen=True):
    port: int

    def explain(self) -> str:
        return f"connection refused: nothing listens on port {self.port} there, or not for this node"


class NoAnswer(NotReached, frozen=True):
    address: str
    seconds: int

    def explain(self) -> str:
        silent = f"no answer from {self.address} within {self.seconds} s"
        return f"{silent}: it is down, filtered, or wants a password"


class AuthenticationSuspected(NotReached, frozen=True):
    """A router drops segments with a wrong MD5 signature, and so does not answer at all."""

    address: str
    seconds: int

    def explain(self) -> str:
        return f"no answer from {self.address} within {self.seconds} s: do both ends have the same password?"


class NoRoute(NotReached, frozen=True):
    address: str

    def explain(self) -> str:
        return f"no route to {self.address} on this node"

    def remedy(self) -> str:
        return f"ip route get {self.address}"


class HostUnreachable(NotReached, frozen=True):
    address: str

    def explain(self) -> str:
        return f"no route to {self.address}, or nobody answers for it on its segment"


class CannotConnect(NotReached, frozen=True):
    why: str

    def explain(self) -> str:
        return f"cannot connect: {self.why}"


class UnknownToRouter(NotReached, frozen=True):
    def explain(self) -> str:
        return "the router closes the connection at once: does it know this node as a neighbor?"


class NotBGP(NotReached, frozen=True):
    def explain(self) -> str:
        return "TCP connects, and BGP does not follow: is it a BGP speaker that knows this node?"


class NoConnection(Reason, frozen=True):
    seconds: int

    def explain(self) -> str:
        return f"no connection for {self.seconds} s: unreachable, refused, or another password"


class ConnectionClosed(Reason, frozen=True):
    """ExaBGP's one word for a refused connection, one that was reset, and a router that ended."""

    def explain(self) -> str:
        return "the TCP connection was refused or closed: does BGP run there, and does it expect this node?"


class SessionEnded(Reason, frozen=True):
    why: str  # ExaBGP's words

    def explain(self) -> str:
        return self.why


class WithdrawalsHeld(Reason, frozen=True):
    """The routes stand, though nothing asks for them any more (speaker/guard.py)."""

    peer: str
    count: int
    limit: int
    window: int  # seconds

    def explain(self) -> str:
        return (
            f"{self.count} {'withdrawal is' if self.count == 1 else 'withdrawals are'} held back: "
            f"more than {self.limit} within {self.window} s "
            f"(annotation metalbgp.io/withdraw-limit)"
        )

    def remedy(self) -> str:
        return f"metalbgp release {self.peer} lets them go; or bring back what asked for the routes"


class MaximumReached(Reason, frozen=True):
    """The router takes no more routes from one node."""

    peer: str
    count: int
    most: int

    def explain(self) -> str:
        return (
            f"{self.count} {'route is' if self.count == 1 else 'routes are'} not announced: "
            f"a node announces {self.most} at most "
            "(annotation metalbgp.io/max-routes)"
        )

    def remedy(self) -> str:
        return f"raise metalbgp.io/max-routes of BGPPeer {self.peer} if the router takes more, or aggregate"


class Notification(Reason, frozen=True):
    """What a NOTIFICATION says; those that a person can do something about have a class of their own."""

    words: str  # the RFC's names of its numbers
    ours: bool = False  # we sent it
    text: str = ""  # the router's operator may have written one

    def explain(self) -> str:
        text = f": {self.text}" if self.text else ""
        return f"{self.words}{text} ({'from us' if self.ours else 'from the router'})"


class BadPeerAS(Notification, frozen=True):
    heard: int = 0  # the router's own number
    expected: int = 0

    def explain(self) -> str:
        said = f"; it says AS {self.heard}, expected is {self.expected}" if self.heard and self.ours else ""
        return super().explain() + said

    def remedy(self) -> str:
        if self.ours:
            return "correct spec.peerASN of the BGPPeer"
        return "the router expects another AS of this node than spec.myASN (or localASN)"


class BadRouterID(Notification, frozen=True):
    def remedy(self) -> str:
        return "two speakers have one router ID: leave spec.routerID out, or give it per node"


class UnacceptableHoldTime(Notification, frozen=True):
    def remedy(self) -> str:
        return "give spec.holdTime a value that the router accepts"


class UnsupportedCapability(Notification, frozen=True):
    def remedy(self) -> str:
        return "the router insists on a capability, or refuses one: compare its address families and ours"


class HoldTimerExpired(Notification, frozen=True):
    pass


class BFDDown(Notification, frozen=True):
    def remedy(self) -> str:
        return "look at the path to the router: BFD packets (UDP 3784, multihop 4784) were not heard in time"


class ShutDownThere(Notification, frozen=True):
    def remedy(self) -> str:
        return "the router's operator shut the session down"


# ------------------------------------------------------------------ configuration


class Invalid(Reason, frozen=True):
    """An object that does not validate: the last good version of it stays in force."""

    kind: str
    object: str
    field: str
    why: str
    fix: str = ""
    awaits: bool = False  # it names what is not there, and is right once that is

    def explain(self) -> str:
        return f"{self.kind} {self.object}: {self.field}: {self.why}"

    def remedy(self) -> str:
        return self.fix


class Surprise(Reason, frozen=True):
    """Legal, and surely not what was meant (metalbgp validate --strict)."""

    kind: str
    object: str
    field: str
    why: str
    fix: str = ""

    def explain(self) -> str:
        return f"{self.kind} {self.object}: {self.field}: {self.why}"

    def remedy(self) -> str:
        return self.fix


class WrongNamespace(Reason, frozen=True):
    """A configuration object where nobody reads it (metallb.md 1.11)."""

    kind: str
    object: str
    namespace: str
    ours: str

    def explain(self) -> str:
        return f"{self.kind} {self.object}: metadata.namespace: nobody reads it in {self.namespace}"

    def remedy(self) -> str:
        return f"create it in namespace {self.ours}"


class WouldBreak(Reason, frozen=True):
    """A change of one object that makes another one wrong, which was right so far."""

    kind: str
    object: str
    field: str
    why: str

    def explain(self) -> str:
        return f"this would break {self.kind} {self.object}: {self.field}: {self.why}"

    def remedy(self) -> str:
        return f"change {self.kind} {self.object} first"


# ------------------------------------------------------------------ not announced from: the snapshot on disk


class SnapshotDamaged(Reason, frozen=True):
    """Half-written, overwritten, or not ours at all."""

    file: str
    why: str

    def explain(self) -> str:
        return f"the snapshot {self.file} is damaged ({self.why}), so nothing is announced from it"

    def remedy(self) -> str:
        return "bring the API server back: then the file is written anew; if it happens again, check its disk"


class SnapshotForeign(Reason, frozen=True):
    file: str
    field: str  # node, installation
    found: str
    here: str

    def explain(self) -> str:
        return (
            f'the snapshot {self.file} is of {self.field} "{self.found}", this is "{self.here}", '
            "so nothing is announced from it"
        )

    def remedy(self) -> str:
        return f"give every {self.field} a directory of its own as volume `run` of the DaemonSet"


class SnapshotTooOld(Reason, frozen=True):
    file: str
    age: int  # seconds since the API server was heard
    limit: int

    def explain(self) -> str:
        return (
            f"the API server was last heard {self.age / 3600:.1f} hours before, so nothing is announced from "
            f"the snapshot {self.file}, which counts for {self.limit / 3600:g} hours"
        )

    def remedy(self) -> str:
        return "bring the API server back, or let METALBGP_SNAPSHOT_MAX_AGE of the DaemonSet be longer"


class SnapshotNewer(Reason, frozen=True):
    file: str
    format: int
    known: int

    def explain(self) -> str:
        return (
            f"the snapshot {self.file} has format {self.format}, this version reads up to {self.known}, "
            "so nothing is announced from it"
        )

    def remedy(self) -> str:
        return "bring the API server back, or the version that wrote it"


class NotWritten(Reason, frozen=True):
    file: str
    why: str

    def remedy(self) -> str:
        return "make room in volume `run` of the DaemonSet, or make it writable; it is tried again by itself"


class SnapshotNotWritten(NotWritten, frozen=True):
    """What is announced stays; only a restart without an API server would find an older file, or none."""

    def explain(self) -> str:
        return f"the snapshot {self.file} cannot be written: {self.why}"


class PeersNotWritten(NotWritten, frozen=True):
    """ExaBGP reads its list of peers from a file."""

    runs: bool = True  # with the list before this one

    def explain(self) -> str:
        so = "the list of peers before this one stays" if self.runs else "ExaBGP is not started"
        return f"{self.file} cannot be written: {self.why}; {so}"


NoAddress = (
    NoPools
    | NoClusterIP
    | UnknownPool
    | PoolExhausted
    | PoolRestricted
    | PoolManual
    | BadRequest
    | AddressNotInPool
    | AddressAvoided
    | AddressTaken
    | NotShared
    | PortTaken
    | FamilyMismatch
    | NoDualStackPool
    | NoPoolFits
    | ClaimTooLarge
    | AddressReserved
    | AddressCooling
    | AddressOccupied
    | AddressAnswers
    | QuotaReached
)
NoSnapshot = SnapshotDamaged | SnapshotForeign | SnapshotTooOld | SnapshotNewer
WhyAddress = Kept | FirstFree | Requested | Reserved | Returned
NotAnnounced = (
    NoMatchingAdvertisement
    | NoServingEndpoint
    | NoLocalEndpoint
    | NoServingPod
    | EndpointsTerminate
    | NodeNotSelected
    | NodeExcluded
    | NodeNetworkUnavailable
    | NoSpeaker
    | PeerNotListed
    | NoPeers
    | FamilyNotCarried
    | ConflictingAdvertisements
    | NoCandidate
    | OlderConfiguration
    | Releasing
    | BeingProbed
    | Drained
    | HeldByOrder
    | ShutByOrder
    | NotInPool
    | PrefixTooShort
    | SharedWithSelectors
    | NotInForce
)


class WouldLose(Reason, frozen=True):
    """A change of a pool that takes an address from a Service which holds it."""

    service: str
    address: str
    instead: tuple[str, ...]
    why: NoAddress
    policy: str = ""  # PoolPolicy that protects what is in use

    def explain(self) -> str:
        instead = f" and get {', '.join(self.instead)}" if self.instead else " and get no other"
        return f"{self.service} would lose {self.address}{instead}: {self.why.explain()}"

    def remedy(self) -> str:
        if not self.policy:
            return ""
        return f"PoolPolicy {self.policy} protects what is in use; spec.protection: None lifts that"
