"""Times as ages, the way that Kubernetes' users read them: 0.2 s, 42s, 4m12s, 12m, 5h07m, 3d02h, 45d.

In:  RFC 3339 text (with or without fractions), and the time now.
Out: text; "" for a time that is not known.
"""

from datetime import UTC, datetime

MINUTE, HOUR, DAY = 60, 3600, 86400


def parse(text: str) -> datetime | None:
    """None for what is no time: an object that other hands wrote must not break a screen."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def from_unix(seconds: float) -> str:
    """The speakers' sockets count seconds; everything else is text."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds_since(text: str, now: datetime) -> float | None:
    """Never negative: two machines' clocks may differ by a little."""
    then = parse(text) if text else None
    return None if then is None else max(0.0, (now - then).total_seconds())


def age(text: str, now: datetime) -> str:
    seconds = seconds_since(text, now)
    return "" if seconds is None else words(seconds)


def ago(text: str, now: datetime) -> str:
    said = age(text, now)
    return f"{said} ago" if said else ""


def words(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < MINUTE:
        return f"{whole}s"
    if whole < 10 * MINUTE:
        return f"{whole // MINUTE}m{whole % MINUTE:02}s"
    if whole < HOUR:
        return f"{whole // MINUTE}m"
    if whole < DAY:
        return f"{whole // HOUR}h{whole % HOUR // MINUTE:02}m"
    if whole < 30 * DAY:
        return f"{whole // DAY}d{whole % DAY // HOUR:02}h"
    return f"{whole // DAY}d"
