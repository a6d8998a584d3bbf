"""Pods, Leases, Deployments and DaemonSets, reduced to what screens show.

In:  JSON of the API server. Out: frozen values.
Elsewhere: what the trade decides by is read by cluster/decode.py and config/.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct, field


class Pod(Struct, frozen=True):
    namespace: str
    name: str
    component: str = ""  # label: controller, speaker
    node: str = ""
    phase: str = ""
    ready: bool = False
    deleting: bool = False
    container: str = ""  # the one to exec into
    images: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()  # of all containers, with their commands
    environment: Mapping[str, str] = {}  # what is written out, not what comes from elsewhere

    @property
    def running(self) -> bool:
        return self.phase == "Running" and not self.deleting


class Workload(Struct, frozen=True):
    """A Deployment or DaemonSet: how many there should be, how many are ready, what it runs with."""

    wanted: int
    ready: int
    arguments: tuple[str, ...] = ()


class _Meta(Struct):
    name: str
    namespace: str = ""
    labels: dict[str, str] | None = None
    deletionTimestamp: str | None = None


class _Variable(Struct):
    name: str
    value: str = ""


class _Container(Struct):
    name: str = ""
    image: str = ""
    command: list[str] | None = None
    args: list[str] | None = None
    env: list[_Variable] | None = None


class _PodSpec(Struct):
    nodeName: str = ""
    containers: list[_Container] = []


class _Condition(Struct):
    type: str
    status: str


class _PodStatus(Struct):
    phase: str = ""
    conditions: list[_Condition] | None = None


class _Pod(Struct):
    metadata: _Meta
    spec: _PodSpec = field(default_factory=_PodSpec)
    status: _PodStatus = field(default_factory=_PodStatus)


class _Template(Struct):
    spec: _PodSpec = field(default_factory=_PodSpec)


class _WorkloadSpec(Struct):
    replicas: int | None = None
    template: _Template = field(default_factory=_Template)


class _WorkloadStatus(Struct):
    readyReplicas: int = 0
    desiredNumberScheduled: int | None = None
    numberReady: int = 0


class _Workload(Struct):
    spec: _WorkloadSpec = field(default_factory=_WorkloadSpec)
    status: _WorkloadStatus = field(default_factory=_WorkloadStatus)


_decode_pod = msgspec.json.Decoder(_Pod).decode
_decode_workload = msgspec.json.Decoder(_Workload).decode


def pod(data: bytes | Raw) -> Pod:
    raw = _decode_pod(data)
    labels = raw.metadata.labels or {}
    names = [one.name for one in raw.spec.containers]
    ready = any(one.type == "Ready" and one.status == "True" for one in raw.status.conditions or ())
    return Pod(
        namespace=raw.metadata.namespace,
        name=raw.metadata.name,
        component=labels.get("component", labels.get("app.kubernetes.io/component", "")),
        node=raw.spec.nodeName,
        phase=raw.status.phase,
        ready=ready,
        deleting=raw.metadata.deletionTimestamp is not None,
        container="speaker" if "speaker" in names else next(iter(names), ""),
        images=tuple(one.image for one in raw.spec.containers),
        arguments=tuple(
            word for one in raw.spec.containers for word in (*(one.command or ()), *(one.args or ()))
        ),
        environment={each.name: each.value for one in raw.spec.containers for each in one.env or ()},
    )


def workload(data: bytes | Raw) -> Workload:
    raw = _decode_workload(data)
    status = raw.status
    if status.desiredNumberScheduled is not None:
        wanted, ready = status.desiredNumberScheduled, status.numberReady
    else:
        wanted, ready = (1 if raw.spec.replicas is None else raw.spec.replicas), status.readyReplicas
    words: list[Any] = []
    for one in raw.spec.template.spec.containers:
        words += [*(one.command or ()), *(one.args or ())]
    return Workload(wanted=wanted, ready=ready, arguments=tuple(words))


def argument(arguments: tuple[str, ...], flag: str) -> str | None:
    """The value of `--flag=value` or `--flag value`; None when it is not given."""
    for index, word in enumerate(arguments):
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
        if word == flag and index + 1 < len(arguments):
            return arguments[index + 1]
    return None
