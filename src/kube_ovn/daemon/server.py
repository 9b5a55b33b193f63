"""The server of the CNI plugin: HTTP on a unix socket, one request and one answer. Each request leaves an observation
in the metrics; one that is refused leaves a line in the log, except STATUS; and an ADD an Event on the Pod as well.
"""

import asyncio
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import structlog
from aiohttp import web
from prometheus_client import Histogram

from kube_ovn.daemon.attach import Pods
from kube_ovn.daemon.cni import CniError, Code, Request, format_error, parse_request
from kube_ovn.linux.netlink import NetlinkError
from kube_ovn.model.host import Sandbox
from kube_ovn.serving import HttpServer
from kube_ovn.shares import Shares

log = structlog.get_logger()

LATENCY = Histogram(
    "cni_op_latency_seconds",
    "Duration of CNI requests",
    ["node_name", "method", "status_code"],
    buckets=(0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 120),
)

IN_FLIGHT = 256
"""Requests at a time: more than a kubelet runs Pods. Beyond that something is wrong, and the runtime is told to try
again later.
"""
CONNECTIONS = 2 * IN_FLIGHT
"""Connections at a time. There is room for those that are told to try again later."""
LARGEST = 1 << 20
"""The most bytes of a request. A GC lists every attachment of the node."""
ARRIVAL, ANSWER = 10.0, 120.0
"""Seconds until a request is there, and until its answer is. The plugin itself gives up after 90 s."""


class Server:
    """Answers the plugin."""

    def __init__(
        self, node: str, pods: Pods, complaint: Callable[[], str | None], report: Callable[[Sandbox, str], None]
    ) -> None:
        """`node`: the name of the node. `complaint`: returns why the node's network does not work, or None. `report`:
        gives the user of a Pod a sentence.
        """
        self._node = node
        self._pods = pods
        self._complaint = complaint
        self._report = report
        self._in_flight = 0

    async def serve(self, path: str) -> HttpServer:
        """Listen on a unix socket at this path. The caller closes the returned server, which lets requests under way
        finish. A runtime that gives up kills the plugin. The request of that plugin is then undone, not finished.
        """
        app = web.Application(client_max_size=LARGEST)
        app.router.add_post("/api/v1/cni", self._handle)
        shares = Shares(CONNECTIONS, CONNECTIONS)  # root is the only client
        server = HttpServer(app, _listen(path), shares, answer=ANSWER, largest=2 * LARGEST, backlog=IN_FLIGHT)
        await server.start()
        return server

    async def _handle(self, http: web.Request) -> web.Response:
        started = time.perf_counter()
        self._in_flight += 1
        version, command, sandbox, status = "1.0.0", "", None, 200
        try:
            if self._in_flight > IN_FLIGHT:
                raise CniError(Code.TRY_AGAIN_LATER, f"more than {IN_FLIGHT} CNI requests at a time on this node")
            request = parse_request(await self._read(http))
            version, command, sandbox = request.conf.cni_version, request.command, request.sandbox
            body = await self._carry_out(request)
        except CniError as error:
            status = 400 if error.code < Code.TRY_AGAIN_LATER else 500
            body = format_error(version, error)
            self._note(command, sandbox, error)
        except NetlinkError as error:
            refusal = CniError(Code.NETWORK_NAMESPACE, f"Pod {sandbox.label if sandbox else ''}: {error}")
            status, body = 500, format_error(version, refusal)
            self._note(command, sandbox, refusal)
        except Exception:
            log.exception("CNI request failed", command=command, pod=sandbox.label if sandbox else "")
            fault = CniError(Code.INTERNAL, "kube-ovn-cniserver failed; its log on this node says where")
            status, body = 500, format_error(version, fault)
        finally:
            self._in_flight -= 1
            LATENCY.labels(self._node, command, status).observe(time.perf_counter() - started)
        return web.Response(body=body, status=status, content_type="application/json")

    async def _read(self, http: web.Request) -> bytes:
        try:
            async with asyncio.timeout(ARRIVAL):
                return await http.read()
        except TimeoutError:
            raise CniError(Code.TRY_AGAIN_LATER, f"the request was not there within {ARRIVAL:g} s") from None

    async def _carry_out(self, request: Request) -> bytes:
        match request.command:
            case "ADD":
                return await self._pods.add(request)
            case "DEL":
                return await self._pods.delete(request)
            case "CHECK":
                return await self._pods.check(request)
            case "GC":
                return await self._pods.collect(request.conf)
        if complaint := self._complaint():
            raise CniError(Code.NOT_AVAILABLE, f"node {self._node}: {complaint}")
        return b""

    def _note(self, command: str, sandbox: Sandbox | None, error: CniError) -> None:
        if command != "STATUS":
            log.warning("CNI request refused", command=command, code=int(error.code), reason=str(error))
        if command == "ADD" and sandbox is not None:
            self._report(sandbox, str(error))


def _listen(path: str) -> socket.socket:
    """A listening socket, in place of what a former run left at the path. Only root may connect."""
    Path(path).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(mask)
    listener.listen(IN_FLIGHT)
    return listener
