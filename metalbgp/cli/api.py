"""The API server, as a person's kubeconfig reaches it. The only file that uses the official client.

In:  kubeconfig and context (exec plugins, OIDC are the client's business), else the Pod's account.
Out: request(), follow() and execute(), with CliErrors whose message is one line. Tests put their own Api in
     its place.
Elsewhere: what is read is access.py; asking speakers is wire.py.

The client is imported when it is used: it costs half a second, and the image does not carry it.
"""

import logging
import os
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Struct

from metalbgp.cli.errors import Absent, CliError, NotAllowed, Refused, Unreachable, no_such

LIMIT = 20.0  # seconds for one request; a list of 10,000 Services takes 2
STDOUT, STDERR, ERROR = 1, 2, 3  # channels of pods/exec
Body = dict[str, Any]


class Connection(Struct, frozen=True):
    """How to reach the cluster, and which installation is meant."""

    kubeconfig: str | None = None
    context: str | None = None
    installation: str = "metallb-system"  # its namespace


class Api(Protocol):
    server: str
    namespace: str  # of the context: where a name without one is looked for

    async def request(
        self, method: str, path: str, query: Sequence[tuple[str, str]] = (), body: Body | None = None
    ) -> bytes: ...

    def follow(
        self, path: str, query: Sequence[tuple[str, str]], silence: float
    ) -> AsyncGenerator[bytes, None]:
        """An answer that goes on: its bytes as they come. `silence`: seconds without any that end it."""
        ...

    async def execute(self, namespace: str, pod: str, container: str, command: Sequence[str]) -> str: ...

    async def close(self) -> None: ...


class _Status(Struct):
    message: str = ""


async def connect(connection: Connection) -> Api:
    import yaml

    try:
        from kubernetes.aio import config
        from kubernetes.aio.client import Configuration
        from kubernetes.aio.stream import WsApiClient
    except ImportError as error:
        raise CliError(
            f"this needs the official Kubernetes client: pip install kubernetes ({error})"
        ) from error
    configuration: Any = type.__call__(
        Configuration
    )  # a fresh one: the class keeps a default that others share
    namespace = "default"
    from_pod = in_pod(connection)
    try:
        if from_pod:
            load_pod: Any = config.load_incluster_config
            load_pod(client_configuration=configuration)
        else:
            _check(connection, config)
            load: Any = config.load_kube_config
            with _complaints() as complaints:
                loader = await load(connection.kubeconfig or None, connection.context, configuration)
            if complaints:  # it goes on without credentials, and the API server would refuse a stranger
                raise CliError(f"kubeconfig: no credentials: {_one_line(complaints[0])}")
            namespace = loader.current_context["context"].get("namespace") or namespace
    except config.ConfigException as error:
        raise CliError(f"kubeconfig: {_one_line(error)}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise CliError(f"kubeconfig cannot be used: {_one_line(error)}") from error
    client: Any = WsApiClient
    return OfficialApi(client(configuration), namespace)


def in_pod(connection: Connection) -> bool:
    """In a Pod, and nothing says that another cluster is meant."""
    chosen = connection.kubeconfig or connection.context or os.environ.get("KUBECONFIG")
    return (
        not chosen
        and "KUBERNETES_SERVICE_HOST" in os.environ
        and not Path("~/.kube/config").expanduser().exists()
    )


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """What the client logs as an error instead of raising it: an exec plugin that fails, first of all."""
    said: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]  # one line is enough
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield said
    finally:
        root.removeHandler(handler)


def _check(connection: Connection, config: Any) -> None:
    """What the client would tell in its own way: no file at all, a context that is not in it."""
    where = connection.kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
    if not any(Path(one).expanduser().exists() for one in where.split(os.pathsep) if one):
        raise CliError(f"there is no kubeconfig at {where}; name one with --kubeconfig or $KUBECONFIG")
    if connection.context:
        contexts, _ = config.list_kube_config_contexts(connection.kubeconfig or None)
        names = [one["name"] for one in contexts]
        if connection.context not in names:
            raise no_such("context", connection.context, names)


def _one_line(error: object) -> str:
    return " ".join(str(error).split()) or type(error).__name__


class OfficialApi:
    def __init__(self, client: Any, namespace: str) -> None:
        from kubernetes.aio.client import rest

        self._client = client
        # What it lets through from below: aiohttp's errors, by the name that it imports them under.
        self._client_error: type[Exception] = vars(rest)["aiohttp"].ClientError
        self._timeout: Any = vars(rest)["aiohttp"].ClientTimeout
        self.server: str = client.configuration.host
        self.namespace = namespace

    async def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = {"User-Agent": "metalbgp-cli"}
        await self._client.update_params_for_auth(headers, [], ["BearerToken"], "", "GET", None)
        return headers

    async def request(
        self, method: str, path: str, query: Sequence[tuple[str, str]] = (), body: Body | None = None
    ) -> bytes:
        headers = {**await self._headers(), "Accept": "application/json"}
        if method == "PATCH":
            headers["Content-Type"] = "application/merge-patch+json"
        url = self.server + path + (f"?{urlencode(query)}" if query else "")
        try:
            response = await self._client.rest_client.request(
                method, url, headers=headers, body=body, _request_timeout=LIMIT
            )
            data: bytes = await response.read()
        except TimeoutError as error:
            raise Unreachable(f"{self.server} did not answer within {LIMIT:.0f} s") from error
        except (self._client_error, OSError) as error:
            raise Unreachable(f"{self.server} does not answer: {_one_line(error)}") from error
        if response.status >= 400:
            raise refusal(response.status, data, f"{method} {path}")
        return data

    async def follow(
        self, path: str, query: Sequence[tuple[str, str]], silence: float
    ) -> AsyncGenerator[bytes, None]:
        # No compression: a proxy that packs a stream also holds its parts back.
        headers = {**await self._headers(), "Accept": "application/json", "Accept-Encoding": "identity"}
        url = f"{self.server}{path}?{urlencode(query)}"
        waits = self._timeout(total=None, sock_connect=LIMIT, sock_read=silence)
        opened = False
        try:
            answer = await self._client.rest_client.request(
                "GET", url, headers=headers, _request_timeout=waits
            )
            try:
                if answer.status >= 400:
                    raise refusal(answer.status, await answer.read(), f"GET {path}")
                opened = True
                async for chunk in answer.response.content.iter_any():
                    yield chunk
            finally:
                answer.response.close()
        except TimeoutError as error:
            waited = silence if opened else LIMIT
            raise Unreachable(f"nothing was heard from {self.server} for {waited:.0f} s") from error
        except (self._client_error, OSError) as error:
            if opened:
                raise Unreachable(f"{self.server} broke the connection off") from error
            raise Unreachable(f"{self.server} does not answer: {_one_line(error)}") from error

    async def execute(self, namespace: str, pod: str, container: str, command: Sequence[str]) -> str:
        path = f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(pod)}/exec"
        query = [("command", word) for word in command]
        query += [("container", container), ("stdout", "true"), ("stderr", "true")]
        try:
            opening = await self._client.request(
                "GET",
                self.server + path,
                query_params=query,
                headers=await self._headers(),
                _preload_content=False,
            )
            # Not `async with`: leaving it waits for the other end to close, and a dead node never does.
            socket = await opening
            said: dict[int, bytearray] = {STDOUT: bytearray(), STDERR: bytearray(), ERROR: bytearray()}
            async for message in socket:
                data = message.data if isinstance(message.data, bytes) else b""
                if data and data[0] in said:
                    said[data[0]] += data[1:]
        except (self._client_error, OSError) as error:
            status = getattr(error, "status", 0)
            if status >= 500:
                raise Unreachable(f"the API server does not reach its kubelet ({status})") from error
            if status:
                raise refusal(status, b"", f"pods/exec {namespace}/{pod}") from error
            raise Unreachable(_one_line(error)) from error
        outcome = msgspec.json.decode(bytes(said[ERROR]) or b"{}")
        if outcome.get("status") != "Success":
            raise Unreachable(_one_line(said[STDERR].decode(errors="replace") or outcome.get("message", "")))
        return said[STDOUT].decode()

    async def close(self) -> None:
        await self._client.close()


def refusal(status: int, data: bytes, what: str) -> Refused:
    """The server's own words where it gave some, in one line."""
    try:
        message = msgspec.json.decode(data, type=_Status).message
    except msgspec.DecodeError:
        message = ""
    words = _one_line(message) if message else f"{what}: the API server answered {status}"
    if status == 401:
        return Refused(f"the API server does not accept who you are: {words}", status)
    kinds: dict[int, type[Refused]] = {403: NotAllowed, 404: Absent}
    return kinds.get(status, Refused)(words, status)
