"""The webhook's certificate where it is needed: in the Secret, in our TLS, in the API server's caBundle.

In:  the Secret and the webhook configuration, both watched by every replica.
Out: an SSL context whose certificate is the Secret's at any moment; both objects written where they lack.
Elsewhere: what the next certificate is, certificates.py decides; the requests are webhook.py.

Any replica writes, whoever leads: both read the same and want the same, each write is a compare-and-swap, and
a webhook must work in a cluster whose Lease nobody can renew.
"""

import asyncio
import base64
import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct, field

from metalbgp import logs
from metalbgp.cluster import decode
from metalbgp.cluster.client import Client
from metalbgp.cluster.errors import AlreadyExists, ClusterError, Conflict, NotFound
from metalbgp.cluster.reflector import Changed, Reflector, Removed
from metalbgp.cluster.resources import SECRETS, VALIDATING_WEBHOOKS
from metalbgp.controller import certificates
from metalbgp.controller.certificates import Bundle

LOOK = 3600.0  # seconds between two looks at the clock; certificates are renewed weeks before their end
AGAIN = 5.0  # seconds before the next try of what failed
STRATEGIC: Final = "application/strategic-merge-patch+json"  # entries of a list by their name


class _Meta(Struct, frozen=True, rename="camel"):
    name: str = ""
    resource_version: str = ""


class _Object(Struct, frozen=True):
    metadata: _Meta


class _Client(Struct, frozen=True, rename="camel"):
    ca_bundle: str = ""


class _Entry(Struct, frozen=True, rename="camel"):
    name: str
    client_config: _Client = _Client()


class Configuration(Struct, frozen=True):
    """A ValidatingWebhookConfiguration: whom the API server asks, and which CAs it trusts for that."""

    metadata: _Meta
    webhooks: list[_Entry] = field(default_factory=list)

    @property
    def trusted(self) -> tuple[bytes, ...]:
        return tuple(base64.b64decode(one.client_config.ca_bundle) for one in self.webhooks)


_configuration = msgspec.json.Decoder(Configuration).decode
_metadata = msgspec.json.Decoder(_Object).decode


class Stored(Struct, frozen=True):
    data: Mapping[str, bytes]
    version: str


def _stored(raw: bytes | Raw) -> Stored:
    return Stored(data=decode.secret(raw).data, version=_metadata(raw).metadata.resource_version)


class Serving:
    def __init__(
        self,
        client: Client,
        *,
        namespace: str,
        secret: str,
        configuration: str,
        names: Sequence[str],  # that callers use; the first is the Service's
        rotate: bool = True,  # False: other hands make the certificate and the caBundle
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client, self._namespace, self._now = client, namespace, now
        self._secret_name, self._names, self._rotate = secret, tuple(names), rotate
        self._configuration_name = configuration
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._loaded: bytes = b""  # the certificate that the context shows
        self._bundle: Bundle | None = None
        self._stored: Stored | None = None
        self._configuration: Configuration | None = None
        self._due = asyncio.Event()
        self._views: tuple[tuple[Reflector[Any], Callable[[Any], None]], ...] = (
            (
                Reflector(
                    client, SECRETS, _stored, namespace=namespace, field_selector=f"metadata.name={secret}"
                ),
                self._on_secret,
            ),
            (
                Reflector(
                    client,
                    VALIDATING_WEBHOOKS,
                    _configuration,
                    field_selector=f"metadata.name={configuration}",
                ),
                self._on_configuration,
            ),
        )

    def missing(self) -> str:
        """Why nobody can ask us yet; empty when they can, or when no webhook configuration names us."""
        if not all(reflector.synced for reflector, _ in self._views):
            return "the webhook's Secret and configuration were not read yet"
        if not self._loaded:
            return f"the webhook has no certificate yet (Secret {self._secret_name})"
        if self._rotate and self._lacks():
            return f"caBundle of {self._configuration_name} is not current yet"
        return ""

    @property
    def shown(self) -> bytes:
        """The certificate of new handshakes, PEM."""
        return self._loaded

    def look(self) -> None:
        """Look again now: something changed, or time went by."""
        self._due.set()

    # ------------------------------------------------------------------ what is seen

    def _on_secret(self, event: Any) -> None:
        match event:
            case Changed(new=found):
                if self._stored is None or int(found.version) > int(self._stored.version):
                    self._stored = found
            case Removed():
                self._stored = None
            case _:
                return
        self._due.set()

    def _on_configuration(self, event: Any) -> None:
        match event:
            case Changed(new=found):
                self._configuration = found
            case Removed():
                self._configuration = None
            case _:
                return
        self._due.set()

    # ------------------------------------------------------------------ what is done

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for reflector, handle in self._views:
                group.create_task(reflector.run(handle))
            group.create_task(self._follow())

    async def _follow(self) -> None:
        for reflector, _ in self._views:
            await reflector.wait_synced()
        while True:
            self._due.clear()
            pause = LOOK
            try:
                while await self._step():
                    pass
            except (AlreadyExists, Conflict):
                pause = AGAIN  # another replica was first; the watch brings what it wrote, and wakes us
            except ClusterError as error:
                logs.warn("webhook-certificate-failed", error=str(error), again_in=AGAIN)
                pause = AGAIN
            try:
                async with asyncio.timeout(pause):
                    await self._due.wait()
            except TimeoutError:
                continue

    async def _step(self) -> bool:
        """One thing that was lacking; False: nothing is."""
        bundle = certificates.read(self._stored.data) if self._stored is not None else None
        if bundle is not None and bundle.certificate != self._loaded:
            self._load(bundle)
        self._bundle = bundle
        if not self._rotate:
            return False
        trusted = () if self._configuration is None else self._configuration.trusted
        wanted = certificates.step(bundle, self._names, self._now(), trusted)
        if wanted is not None:
            await self._store(wanted)
            return True
        if self._lacks():
            await self._inject()
            return True
        return False

    def _lacks(self) -> bool:
        return (
            self._configuration is not None
            and self._bundle is not None
            and any(one != self._bundle.ca for one in self._configuration.trusted)
        )

    def _load(self, bundle: Bundle) -> None:
        """New handshakes show it, open connections go on. OpenSSL wants a file; a key belongs on no disk."""
        held = os.memfd_create("webhook-certificate", os.MFD_CLOEXEC)
        try:
            os.write(held, bundle.certificate + bundle.key)
            self.context.load_cert_chain(f"/proc/self/fd/{held}")
        finally:
            os.close(held)
        self._loaded = bundle.certificate
        logs.log("webhook-certificate-loaded", secret=self._secret_name)

    async def _store(self, bundle: Bundle) -> None:
        data = {key: base64.b64encode(text).decode() for key, text in certificates.written(bundle).items()}
        if self._stored is None:
            body = {"metadata": {"name": self._secret_name}, "type": "kubernetes.io/tls", "data": data}
            answer = await self._client.create(SECRETS, body, self._namespace)
        else:
            try:
                answer = await self._client.patch(
                    SECRETS,
                    self._secret_name,
                    {"data": data},
                    self._namespace,
                    resource_version=self._stored.version,
                )
            except NotFound:
                self._stored = None
                raise
        self._stored = _stored(answer)
        logs.log("webhook-certificate-stored", secret=self._secret_name, cas=bundle.ca.count(b"BEGIN"))

    async def _inject(self) -> None:
        if self._configuration is None or self._bundle is None:
            return
        text = base64.b64encode(self._bundle.ca).decode()
        entries = [
            {"name": one.name, "clientConfig": {"caBundle": text}} for one in self._configuration.webhooks
        ]
        about = {"resourceVersion": self._configuration.metadata.resource_version}
        answer = await self._client.call(
            "PATCH",
            VALIDATING_WEBHOOKS.path("", self._configuration_name),
            {"metadata": about, "webhooks": entries},
            what=VALIDATING_WEBHOOKS.words("", self._configuration_name),
            content_type=STRATEGIC,
        )
        self._configuration = _configuration(answer)
        logs.log("webhook-ca-injected", configuration=self._configuration_name)
