"""python -m bench: measure what runs on a lab, print figures with ratios, keep them as the next baseline."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from bench import noise, table
from bench.api import Api
from bench.load import Load
from bench.phases import Cpu, Figures, NotReached, Subject, burst, one_by_one, warm_up
from bench.place import of_lab

SETTLE = 3.0  # seconds after the last withdrawal in which trailing work still counts as CPU


def main() -> int:
    """Exit code 0: measured; 1: something did not happen in time."""
    options = _options()
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)  # nothing is cut or folded in a pipe
    if options.what == "allocation":
        from bench.allocation import main as allocation  # needs the product, which measuring a lab does not

        return allocation(console)
    if options.what == "answers":
        from bench.answers import main as answers  # the product's own machine, without sockets

        return answers(console)
    began = time.monotonic()

    def say(text: str) -> None:
        console.print(f"  {time.monotonic() - began:5.0f} s  {text}", highlight=False)

    if options.what == "statuses":
        from bench.statuses import main as statuses  # a simulation, of the product itself

        return statuses(console)
    if options.what == "spread":
        from bench.spread import main as spread  # pure

        return spread(console)
    if options.what == "peers":
        from bench.fleet import main as fleet  # needs the binaries of an API server

        return fleet(console, say, realtime=options.realtime)
    if options.what == "bgp":
        from bench.bgp import main as bgp  # needs root, FRR and the binaries of an API server

        return bgp(console, say, realtime=options.realtime)
    if options.what == "l2":
        from bench.l2 import main as l2  # needs root and nftables

        return l2(console, say, tries=options.tries, minutes=options.minutes)
    if options.what == "faults":
        return _faults(console, say, options)
    baselines = [table.read(name) for name in options.baseline]
    runs = []
    try:
        for name in filter(None, (options.against, options.deploy)):
            from bench.deploy import deployed  # needs the whole lab, which measuring alone does not

            with deployed(name, options.lab):
                runs.append(_measure(name, options, say))
        if not runs:
            runs.append(_measure(options.name, options, say))
    except NotReached as missing:
        console.print(f"not reached: {missing}", style="red", highlight=False)
        return 1
    table.show(console, runs[-1], [*runs[:-1], *baselines])
    if options.save:
        for run in runs:
            path = (
                options.save if run is runs[-1] else options.save.with_stem(f"{options.save.stem}-{run.name}")
            )
            table.write(run, path)
    return 0


def _faults(console: Console, say: Callable[[str], None], options: argparse.Namespace) -> int:
    from bench.faults import main as faults  # needs the whole lab

    bad = 0
    for name in filter(None, (options.against, options.deploy)):
        from bench.deploy import deployed

        with deployed(name, options.lab):
            bad += faults(console, say, options.lab, name)
    return bad if options.deploy else faults(console, say, options.lab, options.name)


def _measure(name: str, options: argparse.Namespace, say: Callable[[str], None]) -> table.Run:
    place = of_lab(options.lab)
    api = Api(place.kubeconfig, place.api)
    it = Subject(api, place, Load(api, place, options.namespace), options.namespace, say)
    before = noise.measure()
    figures: Figures = {}
    try:
        it.load.prepare()
        warm_up(it)
        say(f"{name}: warm")
        cpu = Cpu(it)
        if options.one:
            figures |= one_by_one(it, options.one)
        if options.burst:
            figures |= burst(it, options.burst, options.threads)
        time.sleep(SETTLE)
        figures |= cpu.figures()
    finally:
        it.load.clean()
    note = f"{options.one} one by one, {options.burst} at once"
    return table.Run(name, figures, options.one + options.burst, note, before, noise.measure())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "what",
        nargs="?",
        choices=["services", "allocation", "answers", "bgp", "faults", "l2", "peers", "spread", "statuses"],
        default="services",
        help="services on a lab (default); faults on a lab, under visitors; without any lab: allocation, "
        "the pure function that chooses addresses; answers, one node's 10,000 addresses in L2; "
        "bgp, a speaker with real routers, API server and controller; peers, 1,000 BGPPeers at "
        "once; spread, how even the order of L2 candidates is; statuses, a simulation of what 500 "
        "speakers write",
    )
    parser.add_argument("--lab", default="lab", help="name of the lab (default: lab)")
    parser.add_argument("--namespace", default="metallb-system", help="where the implementation's pods are")
    parser.add_argument("--name", default="metalbgp", help="what to call the one that is measured")
    parser.add_argument("--one", type=int, default=40, metavar="N", help="Services one by one (default: 40)")
    parser.add_argument(
        "--burst", type=int, default=1000, metavar="N", help="Services at once (default: 1000)"
    )
    parser.add_argument(
        "--threads", type=int, default=16, metavar="N", help="creators of the burst (default: 16)"
    )
    parser.add_argument(
        "--baseline",
        action="append",
        default=[],
        metavar="NAME",
        help="compare with: metallb-idle, metallb-busy, aims, or a file that --save wrote; may be repeated",
    )
    parser.add_argument(
        "--realtime",
        action="store_true",
        help="bgp, peers: what is measured comes before all else, so that a busy machine is like a free one",
    )
    parser.add_argument("--tries", type=int, default=20, metavar="N", help="l2: of each fault (default: 20)")
    parser.add_argument(
        "--minutes", type=float, default=10.0, metavar="N", help="l2: of the long busy run (default: 10)"
    )
    made = ["metalbgp", "metallb"]
    parser.add_argument("--deploy", choices=made, help="a new lab with this on it, taken down after")
    parser.add_argument("--against", choices=made, help="the same before with this one, and compare")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the figures there, as a baseline")
    options = parser.parse_args()
    if options.against and not options.deploy:
        options.deploy = "metalbgp"
    return options


if __name__ == "__main__":
    raise SystemExit(main())
