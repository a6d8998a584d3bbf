"""`python -m metalbgp.reflex.ask state [ADDRESS…]`: what the reflex of this pod knows, as JSON on stdout.

In:  reflex.sock. `state`: of all addresses, of those that are named, or of none (`-`); `host`: and what the
     node's kernel does beside us (host.py), for the doctor.
Out: {"state": {…}, "addresses": {…}, "host": {…}}; exit code 1: the reflex does not answer.
Elsewhere: what the fields mean is report.py; who asks is cli/reflexes.py, through pods/exec.
"""

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any, Final

from metalbgp.reflex import host

LIMIT: Final = 4.0  # seconds; whoever asks gives the whole way 5
NOTHING: Final = "-"


def ask(run: Path, only: tuple[str, ...] = ()) -> dict[str, Any]:
    """Raises OSError when there is no reflex, ValueError when it goes away in the middle of its answer."""
    addresses: dict[str, Any] = {}
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(LIMIT)
        link.connect(str(run / "reflex.sock"))
        link.sendall(b'{"ask":"state"}\n')
        with link.makefile("rb") as lines:
            for line in lines:
                said = json.loads(line)
                found = said.get("addresses", {})
                addresses |= {one: found[one] for one in found if not only or one in only}
                if "asked" in said:
                    return {"state": said["state"], "addresses": addresses}
    raise ValueError("the reflex closed without an answer")


def main() -> int:
    question, *only = sys.argv[1:] or ["state"]
    if question not in ("state", "host"):
        sys.stderr.write(f"{question!r} is no question: ask state, or host\n")
        return 2
    try:
        answer = ask(Path(os.environ.get("METALBGP_RUN", "/run/metalbgp")), tuple(only))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"no answer from the reflex: {error}\n")
        return 1
    if question == "host":
        answer["host"] = host.facts()
    sys.stdout.write(json.dumps(answer, separators=(",", ":")) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
