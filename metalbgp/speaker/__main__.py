"""`python -m metalbgp.speaker`: the parent. METALBGP_RUN names the runtime directory."""

import os
import sys
from pathlib import Path

from metalbgp import logs
from metalbgp.speaker.parent import Parent


def main() -> int:
    logs.setup("parent", os.environ.get("METALBGP_LOG_LEVEL", "info"))
    return Parent(Path(os.environ.get("METALBGP_RUN", "/run/metalbgp"))).main()


if __name__ == "__main__":
    sys.exit(main())
