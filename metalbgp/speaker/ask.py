"""`python -m metalbgp.speaker.ask journal`: what the parent of this pod knows, as JSON on stdout.

The CLI runs it by pods/exec, the liveness probe asks `alive`. Exit code 1: the parent does not answer.
"""

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any, Final

LIMIT: Final = 5.0  # seconds


def ask(question: str, run: Path) -> Any:
    """One question, one answer. Raises OSError when there is no parent, ValueError when it does not know."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(LIMIT)
        link.connect(str(run / "parent.sock"))
        link.sendall(json.dumps({"hello": "query", "ask": question}).encode() + b"\n")
        with link.makefile("rb") as lines:
            answer = json.loads(lines.readline() or b"{}")
    if question not in answer:
        raise ValueError(answer.get("error", "the parent closed without an answer"))
    return answer[question]


def main() -> int:
    question = sys.argv[1] if len(sys.argv) > 1 else "journal"
    try:
        answer = ask(question, Path(os.environ.get("METALBGP_RUN", "/run/metalbgp")))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"no answer from the speaker's parent: {error}\n")
        return 1
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
