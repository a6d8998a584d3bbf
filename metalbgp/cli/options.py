"""Options that mean the same for every verb, and the one way in which a verb runs.

In:  the command line. Out: Wish for the verb; its Answer on the screen; the exit code.
Elsewhere: the list of verbs is main.py.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeVar

import click
from msgspec import Struct

from metalbgp.cli import api
from metalbgp.cli.access import Cluster
from metalbgp.cli.api import Api, Connection
from metalbgp.cli.errors import CliError, no_such
from metalbgp.cli.render import FORMATS, Answer, show

PACE = 2.0  # seconds between two looks of --watch
CLEAR = "\x1b[H\x1b[2J\x1b[3J"
Command = TypeVar("Command", bound=Callable[..., Any])


class Setup(Struct):
    """What tests replace."""

    connect: Callable[[Connection], Awaitable[Api]] = api.connect
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    connection: dict[str, Any] = {}  # options given before the verb
    debug: bool = False


class Wish(Struct, frozen=True):
    """What is asked for, in the words of the options."""

    connection: Connection
    output: str = "table"
    namespace: str = ""  # "": every one
    nodes: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    problems: bool = False
    watch: bool = False

    def node(self, name: str) -> bool:
        return not self.nodes or name in self.nodes

    def peer(self, name: str, address: str = "") -> bool:
        return not self.peers or name in self.peers or (address != "" and address in self.peers)

    def check(self, nodes: Iterable[str], peers: Iterable[str] = (), addresses: Iterable[str] = ()) -> None:
        """A name that nothing answers to is a mistake of typing, not an empty answer."""
        nodes, peers, addresses = set(nodes), set(peers), set(addresses)
        for name in self.nodes:
            if name not in nodes:
                raise no_such("node", name, nodes)
        for name in self.peers:
            if name not in peers | addresses:
                raise no_such("peer", name, peers)


class Look(Struct, frozen=True):
    """What a verb looks with."""

    cluster: Cluster
    now: Callable[[], datetime]
    wish: Wish


Verb = Callable[[Look], Awaitable[Answer]]


def connection_options(command: Command) -> Command:
    for option in (
        click.option("--debug", is_flag=True, help="Show the traceback of an error."),
        click.option(
            "--install-namespace",
            metavar="NAMESPACE",
            envvar="METALBGP_NAMESPACE",
            help="Where metalbgp is installed.  [default: metallb-system]",
        ),
        click.option("--context", metavar="NAME", help="Context of the kubeconfig."),
        click.option("--kubeconfig", metavar="FILE", help="Instead of $KUBECONFIG or ~/.kube/config."),
    ):
        command = option(command)
    return command


ONLY_PEERS = click.option(
    "--peer", "peers", multiple=True, metavar="PEER", help="Name or address; repeatable."
)
ONLY_NODES = click.option(
    "--node", "nodes", multiple=True, metavar="NODE", help="Only this node; repeatable."
)


def common(command: Command) -> Command:
    """The options of every verb that reads."""
    for option in (
        click.option("-w", "--watch", is_flag=True, help=f"Look again every {PACE:g} s."),
        click.option("--problems", is_flag=True, help="Only what is not as it should be."),
        ONLY_PEERS,
        ONLY_NODES,
        click.option("-A", "--all-namespaces", is_flag=True, help="Every namespace, also if -n is given."),
        click.option("-n", "--namespace", default="", metavar="NS", help="Only Services of this namespace."),
        click.option(
            "-o", "--output", type=click.Choice(FORMATS), default="table", show_default=True, help="Form."
        ),
    ):
        command = option(command)
    return connection_options(command)


def connection_of(setup: Setup, given: dict[str, Any]) -> Connection:
    """Options behind the verb win over those before it."""
    both = {**setup.connection, **{key: value for key, value in given.items() if value}}
    return Connection(
        kubeconfig=both.get("kubeconfig"),
        context=both.get("context"),
        installation=both.get("install_namespace") or "metallb-system",
    )


def wish_of(setup: Setup, given: dict[str, Any]) -> Wish:
    everywhere = given.get("all_namespaces", False)
    return Wish(
        connection=connection_of(setup, given),
        output=given.get("output", "table"),
        namespace="" if everywhere else given.get("namespace", ""),
        nodes=tuple(given.get("nodes", ())),
        peers=tuple(given.get("peers", ())),
        problems=given.get("problems", False),
        watch=given.get("watch", False),
    )


def run(setup: Setup, given: dict[str, Any], verb: Verb) -> None:
    """Ask, show, and exit with the code that the answer deserves."""
    setup.debug = setup.debug or bool(given.get("debug"))
    wish = wish_of(setup, given)
    guard(setup, lambda: asyncio.run(_looks(setup, wish, verb)))


def finish(setup: Setup, given: dict[str, Any], work: Callable[[], Answer]) -> NoReturn:
    """For what asks no API server."""
    setup.debug = setup.debug or bool(given.get("debug"))

    def shown() -> int:
        answer = work()
        show(answer, given.get("output", "table"))
        return 1 if answer.problems else 0

    guard(setup, shown)


def guard(setup: Setup, work: Callable[[], int]) -> NoReturn:
    """Errors are one line; the traceback is for --debug."""
    try:
        code = work()
    except KeyboardInterrupt:
        code = 0
    except BrokenPipeError:  # `| head` has seen enough
        sys.stderr.close()
        code = 0
    except CliError as error:
        if setup.debug:
            raise
        print(f"metalbgp: {error}", file=sys.stderr)
        code = error.code
    except Exception as error:
        if setup.debug:
            raise
        # A bug of ours: still one line, with the way to the rest of it.
        words = " ".join(str(error).split())
        print(f"metalbgp: {type(error).__name__}: {words} (a bug; --debug shows where)", file=sys.stderr)
        code = 1
    raise SystemExit(code)


async def _looks(setup: Setup, wish: Wish, verb: Verb) -> int:
    link = await setup.connect(wish.connection)
    shown: Answer | None = None
    try:
        while True:
            answer = await verb(Look(Cluster(link, wish.connection), setup.clock, wish))
            if wish.watch and sys.stdout.isatty():
                print(CLEAR, end="")
            if answer != shown:
                show(answer, wish.output)
            shown = answer
            if not wish.watch:
                return 1 if answer.problems else 0
            sys.stdout.flush()
            await asyncio.sleep(PACE)
    finally:
        await link.close()
