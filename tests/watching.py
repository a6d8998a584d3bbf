"""`metalbgp watch` as a process of its own, for tests on a real API server and on the lab.

    with watching(kubeconfig, "--node", "n1", "-o", "json") as watch:
        watch.until("the session is down", lambda lines: …)     # all lines so far; fails after a limit
        code, errors = watch.interrupt()                        # Ctrl-C

In:  a kubeconfig, the words behind the verb. Out: its lines as they come. It never outlives the `with`.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 30.0  # seconds for a line to come


class Watching:
    def __init__(self, kubeconfig: Path, *words: str) -> None:
        environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "PYTHONPATH": str(ROOT)}
        # A shell's background job ignores SIGINT, and so would all that tests start in it.
        command = ["env", "--default-signal=INT", sys.executable, "-m", "metalbgp.cli", "watch", *words]
        self._process = subprocess.Popen(
            command,
            env=environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._come = threading.Condition()
        self._lines: list[str] = []
        self._errors = ""
        self._readers = [threading.Thread(target=self._read), threading.Thread(target=self._listen)]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._come:
                self._lines.append(line.rstrip("\n"))
                self._come.notify_all()
        with self._come:  # it ended: whoever waits need not go on
            self._come.notify_all()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        self._errors = self._process.stderr.read()

    @property
    def lines(self) -> list[str]:
        with self._come:
            return list(self._lines)

    @property
    def said(self) -> list[dict[str, Any]]:
        """With -o json."""
        return [json.loads(line) for line in self.lines]

    def until(self, what: str, good: Callable[[list[str]], Any], limit: float = LIMIT) -> None:
        with self._come:
            came = self._come.wait_for(lambda: good(self._lines), limit)
        seen = "\n".join(self.lines)
        assert came, f"{what}: not so after {limit:g} s; exit code {self._process.poll()}; lines:\n{seen}"

    def told(self, limit: float = LIMIT, **wanted: Any) -> dict[str, Any]:
        """With -o json: the first line that has these values."""

        def fits(line: str) -> bool:
            return wanted.items() <= json.loads(line).items()

        self.until(f"a line with {wanted}", lambda lines: any(map(fits, lines)), limit)
        return next(json.loads(line) for line in self.lines if fits(line))

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def interrupt(self) -> tuple[int, str]:
        """Ctrl-C: its exit code and what it wrote to stderr."""
        self._process.send_signal(signal.SIGINT)
        return self.end()

    def end(self) -> tuple[int, str]:
        """The same, of one that ends by itself."""
        code = self._process.wait(LIMIT)
        self._close()
        return code, self._errors

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._close()

    def _close(self) -> None:
        for reader in self._readers:
            reader.join()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()


@contextmanager
def watching(kubeconfig: Path, *words: str) -> Iterator[Watching]:
    one = Watching(kubeconfig, *words)
    try:
        yield one
    finally:
        one.close()
