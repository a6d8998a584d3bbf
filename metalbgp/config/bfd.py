"""BFDProfile → model (metallb.md 1.6).

In: the object. Out: the value; it counts only if nothing was noted in Findings.
"""

from collections.abc import Iterator

from metalbgp.config.mistakes import Findings
from metalbgp.config.objects import BFDProfile as Raw
from metalbgp.model.configuration import BFDProfile


def read(raw: Raw, findings: Findings) -> BFDProfile:
    spec = raw.spec
    findings.number("spec.receiveInterval", spec.receive_interval, 10, 60000)
    findings.number("spec.transmitInterval", spec.transmit_interval, 10, 60000)
    findings.number("spec.detectMultiplier", spec.detect_multiplier, 2, 255)
    findings.number("spec.echoInterval", spec.echo_interval, 10, 60000)
    findings.number("spec.minimumTtl", spec.minimum_ttl, 1, 254)
    return BFDProfile(
        name=raw.name,
        receive_interval=spec.receive_interval,
        transmit_interval=spec.transmit_interval,
        detect_multiplier=spec.detect_multiplier,
        echo_interval=spec.echo_interval,
        echo_mode=bool(spec.echo_mode),
        passive_mode=bool(spec.passive_mode),
        minimum_ttl=spec.minimum_ttl,
        source=raw.metadata.source,
    )


def not_in_force(profile: BFDProfile) -> Iterator[tuple[str, str]]:
    """(field, why) for what is accepted and does nothing."""
    if profile.echo_mode:
        why = "echo packets are not sent; control packets watch the path, as often as the intervals say"
        yield "spec.echoMode", why
