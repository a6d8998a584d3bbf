"""May this object be created, changed or deleted? The same compile() as on reading, asked beforehand. Pure.

    admit(attempt, scene) -> Answer

In:  one attempt of somebody; what stands in the cluster and what is in force of it.
Out: why not (empty: it may be), warnings, and the configuration that would be in force afterwards.
Elsewhere: bytes, TLS and the answer's shape are controller/webhook.py; who would lose an address to it is
     controller/admission.py; offline the CLI asks the same compile() (cli/judging.py).

Three rules decide, so that a file applied in any order, or a backup restored, always goes through:
- What an object says wrongly is refused; what it names and is not there (yet) is a warning, for it may come.
- What would make another object wrong that was right so far is refused, whichever object is at fault then.
- An edit that leaves the spec alone is nobody's business, be the object ever so wrong: finalizers and labels
  must be movable.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from metalbgp.config import extensions
from metalbgp.config.compile import Compiled
from metalbgp.config.compile import compile as compile_objects
from metalbgp.config.objects import AnyObject, BGPPeer, gather
from metalbgp.model.configuration import Configuration
from metalbgp.model.reasons import Invalid, NotInForce, WouldBreak, WouldLose, WrongNamespace

YOUNGEST: Final = "9999-12-31T23:59:59Z"  # who is not stored yet is younger than whoever stands there
Refusal = Invalid | WouldBreak | WouldLose | WrongNamespace


class Attempt(Struct, frozen=True):
    """What somebody tries. `new` is None on delete, `old` on create."""

    kind: str
    name: str
    namespace: str
    new: AnyObject | None = None
    old: AnyObject | None = None


class Scene(Struct, frozen=True):
    """What stands there when it is tried."""

    namespace: str  # where this installation reads its configuration
    others: frozenset[str] = frozenset()  # namespaces of other installations
    objects: tuple[AnyObject, ...] = ()
    in_force: Configuration = Configuration(installation="")
    ignore_exclude_label: bool = False
    secrets: frozenset[str] | None = None  # basic-auth Secrets by name; None: not known


class Answer(Struct, frozen=True):
    refused: tuple[Refusal, ...] = ()  # empty: allowed
    warnings: tuple[str, ...] = ()
    after: Configuration | None = None  # None: nobody looked


def admit(attempt: Attempt, scene: Scene) -> Answer:
    if attempt.namespace != scene.namespace:
        return _elsewhere(attempt, scene)
    before, after = _compiled(scene, scene.objects), _compiled(scene, _laid_over(attempt, scene.objects))
    return Answer(
        refused=(*_own(attempt, after), *_broken(attempt, before, after)),
        warnings=tuple(dict.fromkeys((*_warnings(attempt, before, after), *_secret(attempt, scene)))),
        after=after.configuration,
    )


def _compiled(scene: Scene, objects: Sequence[AnyObject]) -> Compiled:
    found = gather(list(objects))
    return compile_objects(found, scene.in_force, ignore_exclude_label=scene.ignore_exclude_label)


def _elsewhere(attempt: Attempt, scene: Scene) -> Answer:
    """Refused when it is made there; who finds one that stands there may change and delete it."""
    if attempt.old is not None or attempt.namespace in scene.others:
        return Answer()
    wrong = WrongNamespace(
        kind=attempt.kind, object=attempt.name, namespace=attempt.namespace, ours=scene.namespace
    )
    return Answer(refused=(wrong,))


def _laid_over(attempt: Attempt, objects: Sequence[AnyObject]) -> list[AnyObject]:
    kind = type(attempt.new or attempt.old)
    found = [one for one in objects if type(one) is not kind or one.name != attempt.name]
    if attempt.new is not None:
        about = attempt.new.metadata
        if not about.creation_timestamp:
            about = replace(about, creation_timestamp=YOUNGEST)
        found.append(replace(attempt.new, metadata=about))
    return found


def _same_spec(attempt: Attempt) -> bool:
    new, old = attempt.new, attempt.old
    if new is None or old is None or (new.spec, new.unreadable) != (old.spec, old.unreadable):
        return False
    return extensions.ours(new.metadata.annotations) == extensions.ours(old.metadata.annotations)


def _mine(attempt: Attempt, one: Invalid | NotInForce) -> bool:
    return (one.kind, one.object) == (attempt.kind, attempt.name)


def _own(attempt: Attempt, after: Compiled) -> Iterator[Invalid]:
    if attempt.new is not None and not _same_spec(attempt):
        yield from (one for one in after.invalid if _mine(attempt, one) and not one.awaits)


def _broken(attempt: Attempt, before: Compiled, after: Compiled) -> Iterator[WouldBreak]:
    already = {(one.kind, one.object) for one in before.invalid}
    for one in after.invalid:
        if not _mine(attempt, one) and (one.kind, one.object) not in already:
            yield WouldBreak(kind=one.kind, object=one.object, field=one.field, why=one.why)


def _warnings(attempt: Attempt, before: Compiled, after: Compiled) -> Iterator[str]:
    """What is accepted and does nothing yet: of this object always, of others when it comes from this."""
    if attempt.new is not None:
        for wrong in after.invalid:
            if _mine(attempt, wrong) and (wrong.awaits or _same_spec(attempt)):
                until = " until then its last good version, or nothing of it, is in force"
                yield (
                    f"{wrong.explain()} ({wrong.fix});{until}" if wrong.fix else f"{wrong.explain()};{until}"
                )
    known = set(before.not_in_force)
    for idle in after.not_in_force:
        if (_mine(attempt, idle) and attempt.new is not None) or idle not in known:
            yield idle.explain()


def _secret(attempt: Attempt, scene: Scene) -> Iterator[str]:
    if not isinstance(attempt.new, BGPPeer) or scene.secrets is None:
        return
    reference = attempt.new.spec.password_secret
    if reference is not None and reference.name and reference.name not in scene.secrets:
        yield (
            f"BGPPeer {attempt.name}: spec.passwordSecret.name: there is no Secret {reference.name} of type "
            f"kubernetes.io/basic-auth in namespace {scene.namespace}; no session until it is there"
        )
