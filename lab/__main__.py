"""The lab's commands. `lab/lab` installs what is missing and ends here.

In:  a command line; LAB_NAME or --name.
Out: what the command prints. Each verb is a few lines; the work is in cluster.py and its neighbours.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from lab import router, teardown
from lab.binaries import ensure_binaries, ensure_gobgp
from lab.cluster import Lab
from lab.images import build_images, build_product
from lab.settings import CLIENT, CONTROL, NODES, REPOSITORY, ROUTER, Settings
from lab.shell import LabError, inside
from lab.versions import find

_PASS = {"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--name", envvar="LAB_NAME", default="lab", show_default=True, help="Which lab; several may be up."
)
@click.pass_context
def main(context: click.Context, name: str) -> None:
    """A Kubernetes cluster of three nodes and an FRR router on this machine."""
    context.obj = Settings(name)


@main.command()
@click.option(
    "--product/--no-product", default=True, help="Also build the product's image, for the lab's registry."
)
@click.pass_obj
def up(settings: Settings, product: bool) -> None:
    """Build what is missing and bring the lab up."""
    lab = Lab.up(settings.name, product=product)
    print(f"lab {settings.name} is up\n  export KUBECONFIG={lab.kubeconfig}")


@main.command()
@click.pass_obj
def down(settings: Settings) -> None:
    """Remove everything of the lab from this machine."""
    teardown.down(settings)
    if left := teardown.leftovers(settings):
        raise LabError("left behind:\n  " + "\n  ".join(left))
    print(f"lab {settings.name} is down")


@main.command()
@click.pass_obj
def status(settings: Settings) -> None:
    """What runs, and what is left if nothing does. Exit code 1 if something is not as it should be."""
    lab = Lab(settings)
    if not lab.kubeconfig.exists():
        left = teardown.leftovers(settings)
        print("\n".join([f"lab {settings.name} is not up", *(f"  left behind: {each}" for each in left)]))
        sys.exit(1)
    dead = [process.name for process in lab.processes.all() if not process.alive]
    ready = lab.api.nodes_ready()
    for process in lab.processes.all():
        print(f"{process.name:<20} {f'pid {process.pid}' if process.alive else 'dead'}")
    print(f"nodes ready          {', '.join(sorted(ready)) or 'none'}")
    answers = router.answers(settings)
    print(f"router               {'answers' if answers else 'does not answer'}")
    print(f"kubeconfig           {lab.kubeconfig}\nlogs                 {settings.logs}")
    sys.exit(0 if not dead and len(ready) == len(NODES) and answers else 1)


@main.command()
def binaries() -> None:
    """Build the binaries that tests need; at once when the cache has them."""
    ensure_binaries()
    ensure_gobgp()


@main.command()
def build() -> None:
    """Build binaries and images without starting anything."""
    ensure_binaries()
    ensure_gobgp()
    build_images()
    build_product()


@main.command()
@click.argument("version", required=False)
@click.pass_obj
def push(settings: Settings, version: str | None) -> None:
    """Build the product's image from the checkout as it is now, and have the nodes pull it.

    With VERSION, a tag or commit of this clone, the image of that one; its manifest is printed.
    """
    lab = Lab.attach(settings.name)
    if version is None:
        lab.push_image()
        return
    found = find(version)
    lab.push_version(found)
    print(f"{found.image} is pulled; to run it: kubectl apply -f {found.manifest}")


@main.command(context_settings=_PASS)
@click.argument(
    "host", type=click.Choice([CONTROL.name, *(node.name for node in NODES), ROUTER.name, CLIENT.name])
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def shell(settings: Settings, host: str, command: tuple[str, ...]) -> None:
    """Open a shell, or run a command, on a host: cp, n1, n2, n3, router or client."""
    lab = Lab.attach(settings.name)
    environment = {**os.environ, "KUBECONFIG": str(lab.kubeconfig), "PS1": f"{settings.name}/{host}# "}
    default = [
        os.environ.get("SHELL", "/bin/bash"),
        *(["--norc"] if "bash" in os.environ.get("SHELL", "bash") else []),
    ]
    _become(inside(settings.namespace(host), list(command) or default), environment)


@main.command(context_settings=_PASS)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def kubectl(settings: Settings, words: tuple[str, ...]) -> None:
    """Run kubectl as the cluster's administrator."""
    lab = Lab.attach(settings.name)
    _become([str(lab.kubectl_path), f"--kubeconfig={lab.kubeconfig}", *words])


@main.command(context_settings=_PASS)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def vtysh(settings: Settings, words: tuple[str, ...]) -> None:
    """Talk to the router: `lab vtysh -c 'show ip bgp'`, or without words a prompt."""
    Lab.attach(settings.name)
    _become(router.vtysh_argv(settings, *words, terminal=not words and sys.stdin.isatty()))


@main.command(context_settings=_PASS)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def metalbgp(settings: Settings, words: tuple[str, ...]) -> None:
    """Run the checkout's metalbgp command against the lab's cluster."""
    lab = Lab.attach(settings.name)
    environment = {**os.environ, "KUBECONFIG": str(lab.kubeconfig), "PYTHONPATH": str(REPOSITORY)}
    _become([sys.executable, "-m", "metalbgp.cli", *words], environment)


@main.command(context_settings=_PASS)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def test(words: tuple[str, ...]) -> None:
    """Run all tests with tox, those on the lab too; words go to tox."""
    os.chdir(REPOSITORY)
    _become([sys.executable, "-m", "tox", *words])


@main.command()
@click.option("--keep/--no-keep", default=True, help="Leave the lab up afterwards.")
@click.pass_obj
def walkthrough(settings: Settings, keep: bool) -> None:
    """Bring the lab up and do what a first user does, over BGP and then over L2."""
    from lab.walkthrough import walk

    lab = Lab.up(settings.name, product=True)
    try:
        walk(lab)
    finally:
        if not keep:
            lab.down()


def _become(argv: list[str], environment: dict[str, str] | None = None) -> None:
    """Replace this program: keyboard, signals and exit code belong to the other one."""
    sys.stdout.flush()
    os.execvpe(argv[0], argv, environment or dict(os.environ))  # noqa: S606 - a list, never a shell


def _run() -> None:
    if os.geteuid():
        sys.exit("the lab makes network namespaces and mounts: run it as root")
    if str(Path(sys.prefix)) not in os.environ.get("PATH", ""):
        os.environ["PATH"] = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    try:
        main(prog_name="lab")
    except (LabError, ValueError) as problem:
        sys.exit(f"lab: {problem}")


if __name__ == "__main__":
    _run()
