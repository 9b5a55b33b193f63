"""Requests to the Kubernetes API: list, watch, get, create, replace, patch. Each has a deadline.

Decides nothing and tries nothing again: `KubeError` is the one exception for a server that refuses or does not answer,
and the loops that call this try again. What a list or a watch is for is decided in `k8s.watch`.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

import aiohttp
import msgspec
from aiohappyeyeballs import AddrInfoType
from prometheus_client import Counter
from yarl import URL

from kube_ovn.k8s.credentials import Credentials, CredentialsError
from kube_ovn.k8s.decode import (
    NOT_UNDERSTOOD,
    Status,
    Unreadable,
    WatchEvent,
    decode_event,
    decode_object,
    decode_page,
    decode_plurals,
    decode_status,
    decode_version,
    decode_versions,
)
from kube_ovn.model.resource import Resource

T = TypeVar("T")

REQUESTS = Counter("kube_ovn_kubernetes_requests_total", "Requests to the Kubernetes API", ["method", "code"])

NOT_FOUND = 404
DEADLINE = 10.0
PAGE_DEADLINE = 30.0
PAGE = 500
"""Objects in one part of a list, as client-go asks for."""
GRACE = 15.0
"""Seconds a watch may end late. On a quiet cluster it sends nothing until then: bookmarks come only with changes."""
DEAD_PEER = 20
"""Seconds without an acknowledgement of the peer after which the kernel gives up a connection."""

JSON, JSON_PATCH, MERGE, STRATEGIC, APPLY = (
    f"application/{form}"
    for form in ("json", "json-patch+json", "merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml")
)
NOT_UNDERSTOOD_REASON = "NotUnderstood"
MANAGER = "kube-ovn-controller"
"""The field manager of objects that are applied or made."""
ALL: Mapping[str, str] = {}
"""The selector of all objects of a kind."""


class KubeError(Exception):
    """The API server refused, or did not answer (status 0)."""

    def __init__(self, status: int, reason: str, message: str, object: str = "") -> None:
        super().__init__(f"{object}: {message}" if object else message)
        self.status, self.reason, self.message, self.object = status, reason, message, object

    @property
    def expired(self) -> bool:
        """Whether a new list is needed: the version or the continuation asked for is too old, or an event of the watch
        cannot be understood.
        """
        return self.status == 410 or self.reason == NOT_UNDERSTOOD_REASON

    @property
    def unavailable(self) -> bool:
        """Whether a list or a watch failed because the kind is not installed, or because we may not read it."""
        return self.status in (403, 404)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Generic[T]):
    """All objects of a kind at one version, and those of them that cannot be read."""

    items: list[T]
    version: str
    unreadable: list[Unreadable]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written(Generic[T]):
    """An object as it is after a write, and its version."""

    item: T
    version: str


class Client:
    """A session with one API server; use as an async context manager."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._session: aiohttp.ClientSession | None = None

    @property
    def host(self) -> str:
        """The name or address of the API server."""
        return URL(self._credentials.server).host or ""

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            ssl=self._credentials.tls or True, limit=64, keepalive_timeout=60, socket_factory=_socket
        )
        # Uncompressed: compressing a list costs both ends more than the bytes cost a local network.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "kube-ovn"}
        self._session = aiohttp.ClientSession(
            connector=connector, headers=headers, timeout=aiohttp.ClientTimeout(total=None), auto_decompress=False
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def list(self, kind: Resource[T], *, namespace: str = "", selector: Mapping[str, str] = ALL) -> Listing[T]:
        """All objects of the kind at one version, read in pages of PAGE. `selector`: which of them, as parameters of
        the request: `fieldSelector`, `labelSelector`. Raises KubeError, as all requests here do.
        """
        query = {"limit": str(PAGE), **selector}
        items: list[T] = []
        unreadable: list[Unreadable] = []
        while True:
            data = await self.request("GET", kind.path(namespace), query=query, deadline=PAGE_DEADLINE)
            with _understood(kind.plural):
                page = decode_page(kind, data)
            items += page.items
            unreadable += page.unreadable
            if not page.next:
                return Listing(items=items, version=page.version, unreadable=unreadable)
            query["continue"] = page.next

    async def lacks(self, kind: Resource[T]) -> bool:
        """Whether the server says that it does not have the kind: it lists the kinds of the group and version, and this
        one is not among them; or it lists all groups, and this group has no such version. All users may ask. A server
        that does not answer, or not as an API server does, may have the kind.
        """
        try:
            data = await self.request("GET", kind.group_path)
            with _understood(kind.plural):
                return kind.plural not in decode_plurals(data)
        except KubeError as error:
            if error.status != NOT_FOUND or "/" not in kind.version:
                return False
        try:
            data = await self.request("GET", "/apis")
            with _understood(kind.plural):
                return kind.version not in decode_versions(data)
        except KubeError:
            return False

    async def watch(
        self,
        kind: Resource[T],
        version: str,
        *,
        namespace: str = "",
        selector: Mapping[str, str] = ALL,
        seconds: float = 300,
        opened: Callable[[], None] = lambda: None,
    ) -> AsyncGenerator[WatchEvent[T], None]:
        """Events after `version`, until the server ends the watch (after `seconds`, usually). Calls `opened` when the
        server has agreed to it; the first event may be minutes later. Raises KubeError.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(max(1, int(seconds))),
            **selector,
        }
        rest = b""
        with _reached(kind.plural):
            async with asyncio.timeout(DEADLINE):
                response = await self._send("GET", kind.path(namespace), query=query, silence=seconds + GRACE)
        opened()
        try:
            while True:
                with _reached(kind.plural):
                    chunk = await response.content.readany()
                if not chunk:
                    return
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    with _understood(kind.plural):
                        event = decode_event(kind, line)
                    if isinstance(event, Status):
                        raise _refusal(event.code, event, kind.plural)
                    yield event
        finally:
            response.close()

    async def get(self, kind: Resource[T], namespace: str, name: str) -> T:
        return self._object(kind, await self.request("GET", kind.path(namespace, name)))

    async def make(self, kind: Resource[T], namespace: str, value: object) -> Written[T]:
        """Create an object; 409 when another has its name already."""
        query = {"fieldManager": MANAGER}
        return self._written(kind, await self.request("POST", kind.path(namespace), body=value, query=query))

    async def apply(
        self, kind: Resource[T], namespace: str, name: str, value: object, *, subresource: str = "", part: str = ""
    ) -> Written[T]:
        """Server-side apply (KEP-555): fields in `value` become ours; other fields of our last apply are removed."""
        query = {"fieldManager": f"{MANAGER}-{part}" if part else MANAGER, "force": "true"}
        path = kind.path(namespace, name, subresource)
        return self._written(kind, await self.request("PATCH", path, body=value, form=APPLY, query=query))

    async def remove_finalizer(
        self, kind: Resource[T], namespace: str, name: str, uid: str, finalizer: str, position: int
    ) -> None:
        """Take one finalizer off the object with this UID; 422 when the finalizer is not at its position any more, or
        another object has the name.
        """
        path = f"/metadata/finalizers/{position}"
        value = [
            {"op": "test", "path": "/metadata/uid", "value": uid},
            {"op": "test", "path": path, "value": finalizer},
            {"op": "remove", "path": path},
        ]
        await self.request("PATCH", kind.path(namespace, name), body=value, form=JSON_PATCH)

    async def delete(self, kind: Resource[T], namespace: str, name: str, uid: str) -> None:
        """Remove the object with this UID; 409 when another object has its name now."""
        await self.request("DELETE", kind.path(namespace, name), body={"preconditions": {"uid": uid}})

    async def create(self, kind: Resource[T], namespace: str, value: object) -> T:
        return self._object(kind, await self.request("POST", kind.path(namespace), body=value))

    async def replace(self, kind: Resource[T], namespace: str, name: str, value: object) -> T:
        """Write the whole object. Its resourceVersion is the optimistic lock: 409 when another write was faster."""
        return self._object(kind, await self.request("PUT", kind.path(namespace, name), body=value))

    async def patch(
        self, kind: Resource[T], namespace: str, name: str, value: object, *, form: str = MERGE, subresource: str = ""
    ) -> T:
        """Change the fields that `value` names; `form` is the patch's media type, `subresource` may be `status`."""
        path = kind.path(namespace, name, subresource)
        return self._object(kind, await self.request("PATCH", path, body=value, form=form))

    async def annotate(
        self, kind: Resource[T], namespace: str, name: str, annotations: Mapping[str, str | None], uid: str
    ) -> None:
        """Set annotations (None removes one) of the object with this UID; 409 when another object has its name now."""
        metadata = {"uid": uid, "annotations": annotations}
        await self.request("PATCH", kind.path(namespace, name), body={"metadata": metadata}, form=MERGE)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        form: str = JSON,
        deadline: float = DEADLINE,
    ) -> bytes:
        """Send one request and return the answer's body. `deadline` is in seconds. Raises KubeError."""
        with _reached(path):
            async with asyncio.timeout(deadline):
                response = await self._send(method, path, query=query, body=body, form=form)
                return await response.read()

    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        form: str = JSON,
        silence: float | None = None,
    ) -> aiohttp.ClientResponse:
        """Send one request and return the answer, its body not yet read. Any status but a success becomes KubeError.
        When the token is refused, the request is sent once more with a new one.
        """
        assert self._session is not None, "use `async with`"
        url = URL(self._credentials.server + path).with_query(query)
        data = None if body is None else msgspec.json.encode(body)
        timeout = aiohttp.ClientTimeout(total=None, sock_read=silence)
        for refused in (False, True):
            headers = {"Content-Type": form} if data is not None else {}
            if token := await self._credentials.authorization.header(refused):
                headers["Authorization"] = token
            response = await self._session.request(method, url, data=data, headers=headers, timeout=timeout)
            REQUESTS.labels(method, response.status).inc()
            if response.status < 300:
                return response
            status = decode_status(await response.read())
            if response.status != 401:
                break
        raise _refusal(response.status, status, path)

    def _written(self, kind: Resource[T], data: bytes) -> Written[T]:
        with _understood(kind.plural):
            return Written(item=decode_object(kind, data), version=decode_version(data))

    def _object(self, kind: Resource[T], data: bytes) -> T:
        with _understood(kind.plural):
            return decode_object(kind, data)


def _refusal(code: int, status: Status, object: str) -> KubeError:
    reason = status.reason
    if code == 422 and any(cause.field == "metadata.uid" for cause in status.details.causes):
        code, reason = 409, "Conflict"  # how the server says that the precondition of `annotate` failed
    return KubeError(code, reason, status.message or f"HTTP status {code}", object)


@contextmanager
def _reached(object: str) -> Iterator[None]:
    """Turn all errors of the network, of TLS and of the credentials into KubeError with status 0."""
    try:
        yield
    except TimeoutError as error:
        raise KubeError(0, "Timeout", "no answer in time", object) from error
    except (aiohttp.ClientError, OSError) as error:
        raise KubeError(0, "Unreachable", str(error) or type(error).__name__, object) from error
    except CredentialsError as error:
        raise KubeError(0, "Credentials", str(error), object) from error


@contextmanager
def _understood(object: str) -> Iterator[None]:
    try:
        yield
    except NOT_UNDERSTOOD as error:
        raise KubeError(0, NOT_UNDERSTOOD_REASON, f"answer not understood: {error}", object) from error


def _socket(address: AddrInfoType) -> socket.socket:
    """A socket that fails within DEAD_PEER seconds when the peer vanished, with or without data under way (tcp(7))."""
    family, type_, protocol, *_ = address
    made = socket.socket(family, type_, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, DEAD_PEER // 2)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, DEAD_PEER // 4)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_PEER * 1000)
    return made
