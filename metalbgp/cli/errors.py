"""What ends a verb early. The message is the one line that the user reads.

CliError            exit code 1
├── Usage           exit code 2: a name on the command line that nothing answers to
├── Unreachable     the API server, a node or the way to it does not answer
└── Refused         the API server said no: `status`
    ├── NotAllowed  403: the line names the right and who gives it
    └── Absent      404: no such object, or no such kind
"""

from collections.abc import Iterable
from difflib import get_close_matches


class CliError(Exception):
    code = 1


class Usage(CliError):
    code = 2


class Unreachable(CliError):
    pass


class Refused(CliError):
    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class NotAllowed(Refused):
    pass


class Absent(Refused):
    pass


def no_such(kind: str, name: str, known: Iterable[str]) -> Usage:
    """Names the near miss, or else what there is."""
    names = sorted(set(known))
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    if near:
        hint = f'; did you mean "{near[0]}"?'
    elif names:
        hint = f"; there are: {', '.join(names[:12])}{', …' if len(names) > 12 else ''}"
    else:
        hint = "; there is none"
    return Usage(f'there is no {kind} "{name}"{hint}')
