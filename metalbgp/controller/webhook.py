"""The admission webhook: AdmissionReviews over TLS to Attempts, Answers back (admission.k8s.io/v1).

In:  the body of a POST to PATH; a judge (admission.py), and whether its views are complete.
Out: HTTP status and body; one log line a refusal, a counter per answer.
Elsewhere: what is right and wrong is config/admit.py; the TLS is serving.py, the server web.py.

Whatever goes wrong here refuses nobody: it is an HTTP error, and the failurePolicy of the webhook
configuration decides (Ignore, unless the operator wants Fail). Reading judges every object again.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct
from prometheus_client import Counter

from metalbgp import logs
from metalbgp.config.admit import Answer, Attempt
from metalbgp.config.objects import READERS, AnyObject
from metalbgp.model.reasons import Invalid

PATH: Final = "/validate"
LARGEST: Final = 8 << 20  # bytes of a review: two versions of an object of at most 1.5 MiB, and its frame
LONGEST: Final = 1_000  # characters of a refusal; and of all warnings together, of which each has at most 256
WARNING: Final = 256
NOTHING: Final = (b"", b"null")
# Who deletes what a namespace held may do so in any order.
COLLECTORS: Final = frozenset(
    (
        "system:serviceaccount:kube-system:namespace-controller",
        "system:serviceaccount:kube-system:generic-garbage-collector",
        "system:kube-controller-manager",
    )
)


class _Kind(Struct, frozen=True):
    kind: str


class _User(Struct, frozen=True):
    username: str = ""


class _Request(Struct, frozen=True, rename="camel"):
    uid: str
    kind: _Kind
    operation: str
    name: str = ""
    namespace: str = ""
    user_info: _User = _User()
    object: Raw = Raw()  # not `Raw | None`: that reads nothing but null
    old_object: Raw = Raw()


class _Review(Struct, frozen=True):
    request: _Request


class _Meta(Struct, frozen=True, rename="camel"):
    deletion_timestamp: str | None = None


class _Deleting(Struct, frozen=True):
    metadata: _Meta = _Meta()


_review = msgspec.json.Decoder(_Review).decode
_deleting = msgspec.json.Decoder(_Deleting).decode


class Webhook:
    def __init__(
        self,
        judge: Callable[[Attempt], Awaitable[Answer]],
        missing: Callable[[], str],  # why it cannot judge yet
        answers: Counter,
    ) -> None:
        self._judge, self._missing, self._answers = judge, missing, answers

    async def answer(self, body: bytes) -> tuple[int, bytes]:
        """HTTP status and body."""
        try:
            review = _review(body).request
            attempt = _attempt(review)
        except (msgspec.MsgspecError, KeyError) as error:
            logs.warn("admission-unreadable", error=str(error))
            return self._failed("", 400, f"not an AdmissionReview of ours: {error}")
        if missing := self._missing():
            return self._failed(attempt.kind, 503, missing)
        try:
            answer = Answer() if _free(review) else await self._judge(attempt)
        except Exception as error:  # a bug, or an API server that answers nobody
            logs.exception("admission-failed", error, kind=attempt.kind, object=attempt.name)
            return self._failed(attempt.kind, 500, f"{type(error).__name__}: {error}")
        self._answers.labels(attempt.kind, "refused" if answer.refused else "allowed").inc()
        found = response(review.uid, answer)
        if answer.refused:
            logs.log(
                "admission-refused",
                kind=attempt.kind,
                object=attempt.name,
                how=review.operation,
                by=review.user_info.username,
                why=found["response"]["status"]["message"],
            )
        return 200, msgspec.json.encode(found)

    def _failed(self, kind: str, status: int, why: str) -> tuple[int, bytes]:
        self._answers.labels(kind, "failed").inc()
        return status, f"{why}\n".encode()


def _attempt(review: _Request) -> Attempt:
    kind = review.kind.kind
    new, old = _object(kind, review.object), _object(kind, review.old_object)
    found = new or old
    if found is None:
        raise msgspec.ValidationError("neither object nor oldObject is there")
    return Attempt(
        kind=kind,
        name=found.metadata.name or review.name,
        namespace=review.namespace,
        new=None if review.operation == "DELETE" else new,
        old=old,
    )


def _object(kind: str, raw: Raw) -> AnyObject | None:
    return None if bytes(raw) in NOTHING else READERS[kind](raw)


def _free(review: _Request) -> bool:
    """An object on its way out is nobody's business, nor are the cluster's own collectors."""
    if review.operation == "DELETE":
        return review.user_info.username in COLLECTORS
    return _deleting(review.object).metadata.deletion_timestamp is not None


def response(uid: str, answer: Answer) -> dict[str, Any]:
    """An AdmissionReview for the API server. Its message is what kubectl prints."""
    said: dict[str, Any] = {"uid": uid, "allowed": not answer.refused}
    if answer.refused:
        lines = [
            f"{one.explain()}; {one.remedy()}" if one.remedy() else one.explain() for one in answer.refused
        ]
        invalid = any(isinstance(one, Invalid) for one in answer.refused)
        said["status"] = {
            "code": 422 if invalid else 403,
            "reason": "Invalid" if invalid else "Forbidden",
            "message": _cut("\n".join(lines), LONGEST),
        }
    elif answer.warnings:
        said["warnings"] = [_cut(" ".join(one.split()), WARNING) for one in answer.warnings][: LONGEST // 100]
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": said}


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 2]} …"
