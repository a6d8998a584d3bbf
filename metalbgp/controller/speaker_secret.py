"""The one Secret that speakers may read: passwords of BGP sessions, and the key of L2 heartbeats.

In:  BGPPeers as users wrote them, basic-auth Secrets and our own Secret (both watched), the peers in force.
Out: the Secret metalbgp-speaker, written when it differs, whoever made it differ. The key is made once: to
     have another one, delete the Secret or that entry of it.
Elsewhere: when it is written is configure.py (before the configuration that needs it).

A session in force keeps its last password while the Secret behind it is away: without it the session would
end, and an object that is wrong takes nothing away (contracts.md, last good).
"""

import base64
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from metalbgp import logs
from metalbgp.cluster import decode
from metalbgp.cluster.client import Client
from metalbgp.cluster.errors import NotFound
from metalbgp.cluster.reflector import Changed, Reflector, Removed
from metalbgp.cluster.resources import SECRETS
from metalbgp.config import objects
from metalbgp.model.configuration import Peer
from metalbgp.model.names import HEARTBEAT_KEY, HEARTBEAT_KEY_SIZE, SPEAKER_SECRET


class SpeakerSecret:
    def __init__(
        self,
        client: Client,
        fenced: Client,
        namespace: str,
        due: Callable[[], None],
        make_key: Callable[[], bytes] = lambda: secrets.token_bytes(HEARTBEAT_KEY_SIZE),
    ) -> None:
        self._client, self._fenced, self._namespace = client, fenced, namespace
        self._due, self._make_key = due, make_key
        self._secrets: dict[str, decode.Secret] = {}
        self._held: dict[str, bytes] | None = (
            None  # what our Secret holds, by its keys; None: it is not there
        )
        self.views: tuple[tuple[Reflector[Any], Callable[[Any], None]], ...] = (
            (self._view("type=kubernetes.io/basic-auth"), self._on_secret),
            (self._view(f"metadata.name={SPEAKER_SECRET}"), self._on_own),
        )

    def _view(self, fields: str) -> Reflector[decode.Secret]:
        return Reflector(
            self._client, SECRETS, decode.secret, namespace=self._namespace, field_selector=fields
        )

    def _on_secret(self, event: Any) -> None:
        match event:
            case Changed(new=secret):
                self._secrets[secret.name] = secret
            case Removed(key=key):
                self._secrets.pop(key.rpartition("/")[2], None)
            case _:
                return
        self._due()

    def _on_own(self, event: Any) -> None:
        """Our writes come back equal; edited or deleted by other hands, it is written again."""
        match event:
            case Changed(new=secret):
                found: dict[str, bytes] | None = dict(secret.data)
            case Removed():
                found = None
            case _:
                return
        if found != self._held:
            self._held = found
            self._due()

    @property
    def names(self) -> frozenset[str] | None:
        """Of the basic-auth Secrets; None before they were read."""
        return frozenset(self._secrets) if self.views[0][0].synced else None

    async def read(self) -> None:
        """What stands there now, when this replica begins to lead."""
        try:
            self._held = dict(
                decode.secret(await self._client.get(SECRETS, SPEAKER_SECRET, self._namespace)).data
            )
        except NotFound:
            self._held = None

    async def write(
        self, written: Mapping[str, objects.BGPPeer], now: Iterable[Peer], before: Iterable[Peer]
    ) -> None:
        """`written`: users' objects by name; `now`, `before`: the peers in force from now on, and so far."""
        wanted = self._wanted(written, now, before) | {HEARTBEAT_KEY: self._key()}
        if wanted == self._held:
            return
        data: dict[str, str | None] = dict.fromkeys((self._held or {}).keys() - wanted.keys())
        data |= {key: base64.b64encode(word).decode() for key, word in wanted.items()}
        body = {"metadata": {"name": SPEAKER_SECRET}, "type": "Opaque", "data": data}
        try:
            await self._fenced.patch(SECRETS, SPEAKER_SECRET, body, self._namespace)
        except NotFound:
            await self._fenced.create(SECRETS, body, self._namespace)
        self._held = wanted
        names = sorted(key.removeprefix("peer.") for key in wanted if key != HEARTBEAT_KEY)
        logs.log("speaker-secret-written", peers=names)

    def _key(self) -> bytes:
        held = (self._held or {}).get(HEARTBEAT_KEY, b"")
        if len(held) == HEARTBEAT_KEY_SIZE:
            return held
        if held:
            logs.warn("heartbeat-key-replaced", why=f"it has {len(held)} bytes, not {HEARTBEAT_KEY_SIZE}")
        else:
            logs.log("heartbeat-key-made")
        return self._make_key()

    def _wanted(
        self, written: Mapping[str, objects.BGPPeer], now: Iterable[Peer], before: Iterable[Peer]
    ) -> dict[str, bytes]:
        had = {peer.source.uid for peer in before if peer.has_password}
        wanted: dict[str, bytes] = {}
        for peer in now:
            if not peer.has_password:
                continue
            key = f"peer.{peer.name}"
            word = self._resolved(written[peer.name]) if peer.name in written else b""
            if not word and peer.source.uid in had and (word := (self._held or {}).get(key, b"")):
                logs.warn("password-kept", peer=peer.name, why="its Secret is away or has no password")
            if word:
                wanted[key] = word
        return wanted

    def _resolved(self, peer: objects.BGPPeer) -> bytes:
        """The peer's password, b"" when its Secret does not (yet) exist or has none."""
        if peer.spec.password:
            return peer.spec.password.encode()
        reference = peer.spec.password_secret
        secret = self._secrets.get(reference.name or "") if reference is not None else None
        return secret.data.get("password", b"") if secret is not None else b""
