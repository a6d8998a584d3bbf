"""Images made on this machine: bases, FRR, the walkthrough's two, and the product from its Dockerfile.

In:  Debian's mirror, the checkout.
Out: tags in the cache's Store; each is made again only when what it is made from changes.
     `debian:bookworm-slim` and `python:3.11-slim-bookworm` are local stand-ins, good enough for the ordinary
     Dockerfile; `nginx:latest` is Debian's nginx, `busybox:1.28` is Debian's static busybox (1.35).
Elsewhere: the store in store.py, who serves it in registry.py.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from lab.settings import CACHE, IMAGES, REPOSITORY
from lab.shell import run, step
from lab.store import Store

PRODUCT: Final = "metalbgp/metalbgp:dev"
FRR: Final = "metalbgp/frr:lab"
PAUSE: Final = "metalbgp/pause:lab"
STORE: Final = Store(IMAGES)

_RECIPES: Final = Path(__file__).resolve().parent / "images"
_SLIM: Final = "docker.io/library/debian:bookworm-slim"
_PYTHON: Final = "docker.io/library/python:3.11-slim-bookworm"
_NGINX_PACKAGES: Final = (
    *("nginx", "nginx-common", "libc6", "libcrypt1", "libpcre2-8-0", "libssl3", "zlib1g"),
    "busybox-static",
)
_PRODUCT_SOURCES: Final = (
    "Dockerfile",
    ".dockerignore",
    "setup.cfg",
    "pyproject.toml",
    "metalbgp",
    "exabgp-conf",
    "k8s/crds.yaml",
)


@contextmanager
def building() -> Iterator[None]:
    """Only one builds at a time on this machine: several labs share the cache."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build_images() -> None:
    """Make whatever is missing, the product excepted."""
    with building():
        _make(PAUSE, "pause image", _key("pause", Path("/bin/busybox")), _pause)
        _make(
            "busybox:1.28",
            "busybox:1.28 from Debian's static busybox",
            _key("1", Path("/bin/busybox")),
            _busybox,
        )
        _make("nginx:latest", "nginx:latest from Debian's packages", _key("2"), _nginx)
        base = _bases()
        _make(FRR, "FRR image", _key("2", base, _RECIPES / "frr"), lambda: _bud("frr", FRR))


def build_product(image: str = PRODUCT, sources: Path = REPOSITORY) -> str:
    """Make the product's image from the checkout as it is now, or from another tree of it, and give it that
    name; returns its manifest's digest."""
    with building():
        base = _bases()
        paths = [sources / name for name in _PRODUCT_SOURCES]
        key = _key(base, *(path for path in paths if path.exists()))
        tag = PRODUCT.replace(":dev", f":{key[:12]}")
        if STORE.resolve(tag) is None:
            with step("product image from the Dockerfile"):
                _product(tag, sources)
            print(f"  product image: {STORE.size(tag) / 1e6:.0f} MB", flush=True)
        digest = STORE.resolve(tag)
        assert digest is not None  # noqa: S101 - _product tags what it made or raises
        STORE.set_tag(image, digest)
        return digest


def _make(image: str, text: str, key: str, build: Callable[[], None]) -> None:
    stamp = IMAGES / "keys" / STORE.tag(image).name
    if stamp.exists() and stamp.read_text() == key and STORE.resolve(image):
        return
    with step(text):
        build()
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(key)


def _key(*parts: str | Path) -> str:
    """One digest over texts and over the names and contents of files."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            total.update(part.encode())
            continue
        files = sorted(path for path in part.rglob("*") if path.is_file()) if part.is_dir() else [part]
        for file in files:
            if "__pycache__" not in file.parts:
                total.update(f"\0{file.relative_to(part.parent)}\0{file.stat().st_mode & 0o111}\0".encode())
                total.update(file.read_bytes())
    return total.hexdigest()


@contextmanager
def _scratch() -> Iterator[Path]:
    CACHE.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix="scratch-", dir=CACHE))
    path.chmod(0o755)  # becomes the root directory of an image, which other users must be able to enter
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _applets(root: Path, names: Iterator[str] | list[str] | None = None) -> None:
    """busybox and a link for each of its programs."""
    (root / "bin").mkdir(parents=True, exist_ok=True)
    shutil.copy("/bin/busybox", root / "bin" / "busybox")
    for name in names or run("/bin/busybox", "--list").stdout.split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")


def _accounts(root: Path) -> None:
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc" / "passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"
    )
    (root / "etc" / "group").write_text("root:x:0:\nadm:x:4:\nwww-data:x:33:\nnogroup:x:65534:\n")
    for name in ("tmp", "run", "root", "var"):
        (root / name).mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)


def _pause() -> None:
    with _scratch() as root:
        _applets(root, ["sleep"])
        # sleep as process 1 would ignore SIGTERM and cost every pod its grace period
        STORE.add_directory(
            PAUSE, root, {"Entrypoint": ["/bin/sleep", "2147483647"], "StopSignal": "SIGKILL"}
        )


def _busybox() -> None:
    with _scratch() as root:
        _applets(root)
        _accounts(root)
        STORE.add_directory("busybox:1.28", root, {"Cmd": ["sh"], "Env": ["PATH=/bin"]})


def _nginx() -> None:
    with _scratch() as packages, _scratch() as root:
        packages.chmod(0o777)  # apt fetches as its own user
        run("apt-get", "-q", "download", *_NGINX_PACKAGES, cwd=packages)
        for package in sorted(packages.glob("*.deb")):
            run("dpkg-deb", "-x", package, root)
        _applets(root, ["sh", "ls", "cat", "wget", "sleep", "ps"])
        _accounts(root)
        for site in (root / "etc/nginx/sites-enabled").iterdir():
            site.unlink()
        shutil.copy(_RECIPES / "nginx.conf", root / "etc/nginx/conf.d/default.conf")
        for log, stream in (("access.log", "stdout"), ("error.log", "stderr")):
            (root / "var/log/nginx").mkdir(parents=True, exist_ok=True)
            (root / "var/log/nginx" / log).symlink_to(f"/dev/{stream}")
        (root / "var/lib/nginx").mkdir(parents=True, exist_ok=True)
        for useless in ("usr/share/doc", "usr/share/man", "usr/share/locale"):
            shutil.rmtree(root / useless, ignore_errors=True)
        STORE.add_directory(
            "nginx:latest",
            root,
            {
                "Cmd": ["nginx", "-g", "daemon off;"],
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "StopSignal": "SIGQUIT",
            },
        )


def _bases() -> str:
    """The two stand-ins, in buildah's own storage; returns the key of both."""
    key = _key(_RECIPES / "slim", _RECIPES / "python")
    stamp = CACHE / "buildah" / "bases"
    if stamp.exists() and stamp.read_text() == key and all(_has(name) for name in (_SLIM, _PYTHON)):
        return key
    with step("debian:bookworm-slim with debootstrap"), _scratch() as context:
        root = context / "root"
        packages = CACHE / "debs"
        packages.mkdir(exist_ok=True)
        run("debootstrap", "--variant=minbase", f"--cache-dir={packages}", "bookworm", root, timeout=1200)
        for useless in (
            "var/lib/apt/lists",
            "var/cache/apt",
            "usr/share/doc",
            "usr/share/man",
            "usr/share/locale",
        ):
            shutil.rmtree(root / useless, ignore_errors=True)
        for directory in ("var/lib/apt/lists/partial", "var/cache/apt/archives/partial"):
            (root / directory).mkdir(parents=True)
        shutil.copytree(_RECIPES / "slim" / "etc", root / "etc", dirs_exist_ok=True)
        with tarfile.open(context / "slim.tar", "w") as archive:
            archive.add(root, arcname=".")
        shutil.rmtree(root)
        shutil.copy(_RECIPES / "slim" / "Dockerfile", context)
        _buildah("bud", "--isolation", "chroot", "-t", _SLIM, context)
    with step("python:3.11-slim-bookworm"):
        _buildah("bud", "--isolation", "chroot", *_secrets(), "-t", _PYTHON, _RECIPES / "python")
    stamp.write_text(key)
    return key


def _bud(recipe: str, image: str) -> None:
    local = f"localhost/lab-{recipe}"
    _buildah("bud", "--isolation", "chroot", *_secrets(), "-t", local, _RECIPES / recipe)
    _into_store(local, image)


def _product(image: str, sources: Path) -> None:
    local = "localhost/metalbgp:dev"
    _buildah("bud", "--isolation", "chroot", "--layers", *_secrets(), "-t", local, sources)
    _into_store(local, image)


def _into_store(local: str, image: str) -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    reference = STORE.tag(image).name.replace("@", "-").replace(":", "-")
    _buildah("push", "--disable-compression", local, f"oci:{IMAGES}:{reference}")
    STORE.adopt(image, reference)


def _has(name: str) -> bool:
    return not run(*_BUILDAH, "inspect", "--type", "image", name, check=False).returncode


_BUILDAH: Final = (
    "buildah",
    "--root",
    str(CACHE / "buildah" / "root"),
    "--runroot",
    str(CACHE / "buildah" / "run"),
)


def _buildah(*words: str | Path) -> None:
    # BUILDAH_ISOLATION oci would leave a bridge and iptables chains in the host's namespace.
    run(*_BUILDAH, *words, timeout=1800, env={"TMPDIR": os.environ.get("TMPDIR", "/var/tmp")})


def _secrets() -> list[str]:
    """The machine's way to its package index, lent to RUN and left in no layer."""
    files = {
        "pipconf": (
            Path("/etc/pip.conf"),
            Path.home() / ".config/pip/pip.conf",
            Path.home() / ".pip/pip.conf",
        ),
        "ca": (Path("/etc/ssl/certs/ca-certificates.crt"),),
    }
    return [
        f"--secret=id={name},src={found}"
        for name, places in files.items()
        if (found := next((place for place in places if place.exists()), None))
    ]
