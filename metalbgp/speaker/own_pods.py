"""Which Services can the Pods of this node serve no more? Seen here, before any controller says so. Pure.

In:  set_pod: the Pods of this node; see: each VirtualIP as it is now; `now` (seconds, monotonic).
Out: `ended`: (address, Service) of those whose last Pod here ended, for select(); the addresses to judge
     again; `deadline`, when to look again; memory() for the snapshot.
Elsewhere: a Pod that terminates and still answers serves: what follows from it is docs/serving.md.

Only Local Services with a selector, and only those that the VirtualIP grants this node: it is a "no" to what
is asked, never a "yes". It is said on evidence alone: a Pod was seen to serve under the grant, and then the
last of them was seen to end. Not to see one proves nothing: the view may be away, endpoints written by hand.

Two watches run beside each other. When the count for this node rises, the controller knows of a Pod that this
view may not know yet, while the end of the one before it may still be on its way: so for a moment (LAG) after
a rise the controller is right, and then what is seen counts again.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from msgspec import Struct

from metalbgp.model.services import Pod
from metalbgp.model.virtualips import Holder, VirtualIP

LAG: Final = 2.0  # seconds that one watch may be behind the other
OVER: Final = ("Succeeded", "Failed")  # phases after which a Pod runs no more

Grant = tuple[str, str]  # address, Service as namespace/name


class Memory(Struct, frozen=True):
    """That a grant had ended, so that another life of this process does not announce it again."""

    address: str
    service: str
    uid: str
    count: int


class _Pods(Struct):
    """The Pods here behind one selector; several Services and addresses may ask for the same."""

    namespace: str
    selector: Mapping[str, str]
    not_ready: bool  # publishNotReadyAddresses
    serving: set[str]
    asked_by: set[Grant]

    def holds(self, pod: Pod | None) -> bool:
        return (
            pod is not None
            and pod.namespace == self.namespace
            and bool(pod.address)
            and pod.phase not in OVER
            and (pod.ready or self.not_ready)
            and all(pod.labels.get(name) == value for name, value in self.selector.items())
        )


class _Granted(Struct):
    """What a VirtualIP grants this node for one Service."""

    uid: str
    count: int  # ready endpoints here
    pods: _Pods
    rose: float
    seen: bool  # a Pod served under it


class OwnPods:
    def __init__(self) -> None:
        self.ended: set[Grant] = set()
        self._pods: dict[str, Pod] = {}
        self._granted: dict[Grant, _Granted] = {}
        self._of: dict[str, set[Grant]] = {}  # address → its grants
        self._watched: dict[tuple[str, str, str], list[_Pods]] = {}  # namespace, first label of the selector
        self._remembered: dict[Grant, Memory] = {}
        self._until: dict[Grant, float] = {}  # when LAG is over for one that seems to have ended

    # ------------------------------------------------------------------ what is known

    def set_pod(self, key: str, pod: Pod | None, now: float) -> list[str]:
        """Addresses of which another answer is true now. Cost: the Services the Pod is, or was, behind."""
        before = self._pods.pop(key, None)
        if pod is not None:
            self._pods[key] = pod
        changed: list[Grant] = []
        for pods in self._behind(before, pod):
            if pods.holds(pod) == (key in pods.serving):
                continue
            if key in pods.serving:
                pods.serving.remove(key)
            else:
                pods.serving.add(key)
            changed += (grant for grant in pods.asked_by if self._judge(grant, now))
        return sorted({address for address, _ in changed})

    def see(self, vip: VirtualIP, node: str, now: float) -> None:
        """The VirtualIP as it is now: before select() is asked about it."""
        asked = {
            (vip.address, service): holder for service, holder in vip.holders.items() if _here(holder, node)
        }
        for grant in self._of.get(vip.address, set()) - asked.keys():
            self._forget(grant)
        for grant, holder in asked.items():
            self._grant(grant, holder, holder.nodes.get(node, 0), now)
        if asked:
            self._of[vip.address] = set(asked)
        else:
            self._of.pop(vip.address, None)

    def gone(self, address: str) -> None:
        for grant in self._of.pop(address, ()):
            self._forget(grant)

    # ------------------------------------------------------------------ over time

    @property
    def deadline(self) -> float | None:
        return min(self._until.values(), default=None)

    def due(self, now: float) -> list[str]:
        """Addresses of which another answer is true now, for time has gone by."""
        late = [grant for grant, until in self._until.items() if until <= now]
        return sorted({grant[0] for grant in late if self._judge(grant, now)})

    # ------------------------------------------------------------------ over a restart

    def memory(self) -> list[Memory]:
        found = ((grant, self._granted[grant]) for grant in sorted(self.ended))
        return [Memory(address, service, one.uid, one.count) for (address, service), one in found]

    def remember(self, memory: Iterable[Memory]) -> None:
        """Of the last life, before anything is seen. It counts until the view of the Pods or of the
        VirtualIPs knows better."""
        self._remembered = {(one.address, one.service): one for one in memory}

    # ------------------------------------------------------------------ inner works

    def _grant(self, grant: Grant, holder: Holder, count: int, now: float) -> None:
        before = self._granted.get(grant)
        if before is not None and _another(before, holder):
            self._forget(grant)
            before = None
        if before is None:
            pods = self._watch(grant, holder)
            known = self._remembered.pop(grant, None)
            if known is not None and known.uid == holder.uid and count <= known.count:
                self._granted[grant] = _Granted(holder.uid, count, pods, float("-inf"), seen=True)
            else:
                self._granted[grant] = _Granted(holder.uid, count, pods, now, seen=False)
        else:
            if count > before.count:
                before.rose, before.seen = now, False
            before.count = count
        self._judge(grant, now)

    def _judge(self, grant: Grant, now: float) -> bool:
        """Whether the answer is another one than before."""
        one = self._granted[grant]
        one.seen = one.seen or bool(one.pods.serving)
        over = one.seen and not one.pods.serving
        self._until.pop(grant, None)
        if over and now < one.rose + LAG:
            self._until[grant] = one.rose + LAG
            over = False
        if over == (grant in self.ended):
            return False
        if over:
            self.ended.add(grant)
        else:
            self.ended.remove(grant)
        return True

    def _watch(self, grant: Grant, holder: Holder) -> _Pods:
        namespace, selector = grant[1].partition("/")[0], holder.selector
        shelf = self._watched.setdefault(_shelf(namespace, selector), [])
        for pods in shelf:
            if pods.selector == selector and pods.not_ready == holder.publish_not_ready:
                break
        else:
            pods = _Pods(namespace, selector, holder.publish_not_ready, set(), set())
            pods.serving.update(key for key, pod in self._pods.items() if pods.holds(pod))
            shelf.append(pods)
        pods.asked_by.add(grant)
        return pods

    def _behind(self, *found: Pod | None) -> Iterator[_Pods]:
        """What asks for Pods with such labels, each once."""
        shelves = {
            (pod.namespace, *label) for pod in found if pod is not None for label in pod.labels.items()
        }
        for shelf in shelves:
            yield from self._watched.get(shelf, ())

    def _forget(self, grant: Grant) -> None:
        pods = self._granted.pop(grant).pods
        self.ended.discard(grant)
        self._until.pop(grant, None)
        pods.asked_by.discard(grant)
        if not pods.asked_by:
            shelf = _shelf(pods.namespace, pods.selector)
            self._watched[shelf].remove(pods)
            if not self._watched[shelf]:
                del self._watched[shelf]


def _here(holder: Holder, node: str) -> bool:
    """Whether it grants the node something that its Pods can end."""
    return (
        holder.policy == "Local"
        and bool(holder.selector)
        and (holder.nodes.get(node, 0) > 0 or holder.terminating.get(node, 0) > 0)
    )


def _another(granted: _Granted, holder: Holder) -> bool:
    pods = granted.pods
    return (granted.uid, pods.selector, pods.not_ready) != (
        holder.uid,
        holder.selector,
        holder.publish_not_ready,
    )


def _shelf(namespace: str, selector: Mapping[str, str]) -> tuple[str, str, str]:
    return (namespace, *min(selector.items()))
