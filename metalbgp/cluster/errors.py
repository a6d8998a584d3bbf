"""What the API server, or the way to it, answered instead of what was asked for.

In:  HTTP status, headers and body (or the Status object of an ERROR event).
Out: one exception whose message names verb, object and remedy; callers match on the class, never on words.

ClusterError
├── AccessError            no usable credentials or server address (access.py)
├── NotLeading             the fence: this process may not write (election.py)
├── Unreachable            no answer; whether a write happened is unknown
│   └── Timeout            ... within the time given
│       └── Silent         a watch was opened, then nothing came: not even a bookmark
├── BadAnswer              an answer that is not the API server's (a proxy's HTML, broken JSON)
├── WatchFailed            an ERROR event that is not 410: the view must be listed again
└── Refused                the API server said no; has `status`, `reason`, `retry_after`
    ├── BadRequest 400     ├── Unauthorized 401   ├── Forbidden 403   ├── NotFound 404
    ├── Conflict 409       the resourceVersion or a precondition no longer holds
    ├── AlreadyExists 409  a create found the name taken
    ├── Gone 410           the resourceVersion is too old (or from a future that a restore undid)
    ├── Invalid 422        ├── TooMany 429        └── ServerError 5xx
"""

from typing import ClassVar

import msgspec
from msgspec import Struct


class ClusterError(Exception):
    """Base of all; `remedy` is a hint for a person."""

    remedy: ClassVar[str] = ""

    def __init__(self, what: str, why: str) -> None:
        self.what = what
        self.why = why
        super().__init__(f"{what}: {why}" + (f" ({self.remedy})" if self.remedy else ""))


class AccessError(ClusterError):
    pass


class NotLeading(ClusterError):
    remedy = "another replica holds the Lease, or it could not be renewed in time; nothing was sent"


class Unreachable(ClusterError):
    remedy = "is the API server running, and is the way to it open?"


class Timeout(Unreachable):
    remedy = "the API server is slow or the connection is dead; it is tried again"


class Silent(Timeout):
    remedy = "the connection is half-open, or the server has less history than we saw"


class BadAnswer(ClusterError):
    remedy = "is there a proxy between us and the API server?"


class WatchFailed(ClusterError):
    remedy = "the resource is listed again"


class Refused(ClusterError):
    def __init__(
        self, what: str, why: str, *, status: int = 0, reason: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(what, why)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after


class BadRequest(Refused):
    pass


class Unauthorized(Refused):
    remedy = "the token or certificate is not accepted: does the ServiceAccount exist, is the clock right?"


class Forbidden(Refused):
    remedy = "apply the ClusterRole and its binding from the manifest again"


class NotFound(Refused):
    remedy = "it was deleted; or, for a whole kind, its CRD is not applied"


class Conflict(Refused):
    remedy = "it changed meanwhile: read it again and decide anew"


class AlreadyExists(Refused):
    remedy = "the name is taken: read it and decide"


class Gone(Refused):
    remedy = "the resource is listed again"


class Invalid(Refused):
    remedy = "the object does not fit its schema: do the CRDs match this version?"


class TooMany(Refused):
    remedy = "the API server sheds load; tried again after Retry-After"


class ServerError(Refused):
    pass


_BY_STATUS: dict[int, type[Refused]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooMany,
}


class _Cause(Struct, gc=False):
    reason: str | None = None
    field: str | None = None
    message: str | None = None


class _Details(Struct, gc=False):
    retryAfterSeconds: float | None = None
    causes: list[_Cause] | None = None


class Status(Struct, gc=False):
    """meta/v1 Status, as far as it decides something."""

    code: int | None = None
    reason: str | None = None
    message: str | None = None
    details: _Details | None = None


_decode_status = msgspec.json.Decoder(Status).decode


def _status_of(body: bytes | msgspec.Raw) -> Status | None:
    try:
        return _decode_status(body)
    except msgspec.MsgspecError:
        return None


def refusal(what: str, status: int, body: bytes, retry_after: str | None = None) -> Refused:
    """The exception for an HTTP answer of 300 or more."""
    told = _status_of(body)
    if told is None:  # not from the API server: show the beginning, it says which proxy spoke
        told = Status(message=f"HTTP {status}: {body[:120].decode('utf-8', 'replace')!r}")
    return _judge(what, status, told, _seconds(retry_after))


def error_event(what: str, body: msgspec.Raw) -> ClusterError:
    """The exception for an ERROR event of a watch: Gone, or WatchFailed for everything else."""
    told = _status_of(body) or Status(message=f"ERROR event {bytes(body)[:120]!r}")
    error = _judge(what, told.code or 0, told, None)
    return error if isinstance(error, Gone) else WatchFailed(what, error.why)


def _judge(what: str, status: int, told: Status, retry_after: float | None) -> Refused:
    details = told.details or _Details()
    reason = told.reason or ""
    why = told.message or reason or f"HTTP {status}"
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else Refused)
    if status == 409 and reason == "AlreadyExists":
        kind = AlreadyExists
    elif any(cause.field == "metadata.uid" for cause in details.causes or ()):
        kind = Conflict  # a patch that names a uid met another object of the same name; the server says 422
    elif reason in ("Expired", "Gone") or _from_the_future(details, why):
        kind = Gone
    if retry_after is None:
        retry_after = details.retryAfterSeconds
    return kind(what, why, status=status, reason=reason, retry_after=retry_after)


def _from_the_future(details: _Details, why: str) -> bool:
    # After a restore of etcd our version can be ahead of the server's: as useless as one too old.
    causes = details.causes or []
    return "Too large resource version" in why or any(c.reason == "ResourceVersionTooLarge" for c in causes)


def _seconds(header: str | None) -> float | None:
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:  # an HTTP date: no API server sends one
        return None
