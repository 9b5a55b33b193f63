"""Ports where a load balancer outside asks whether this node has an endpoint of a Service (`healthCheckNodePort`)."""

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from kube_ovn.daemon.view import View
from kube_ovn.host.service import NodeService
from kube_ovn.reconcile import Dirty
from kube_ovn.serving import EACH, TOTAL, HttpServer, listen
from kube_ovn.shares import Shares

log = structlog.get_logger()

AGAIN = 10.0
"""Seconds until a port that another program has is tried again."""


class HealthPorts:
    """Opens and closes these ports as Services come and go."""

    def __init__(self, view: View, tell: Callable[[NodeService, str], None]) -> None:
        """`tell`: gives the user of a Service a sentence."""
        self._view, self._tell = view, tell
        self._served: dict[int, NodeService] = {}
        self._open: dict[int, HttpServer] = {}
        self._refused: dict[int, str] = {}  # why each port is not open, as the user was told
        self._again: asyncio.TimerHandle | None = None
        self.shares = Shares(TOTAL, EACH)
        """The connections to all these ports."""
        self.dirty = Dirty()

    async def make_pass(self) -> None:
        """Open the ports that are missing and close the others. A port that is refused is tried again later."""
        services = self._view.node_services
        if services is None:
            return  # open ports stay open
        self._served = {service.health_port: service for service in services if service.health_port}
        for port in self._open.keys() - self._served.keys():
            await self._open.pop(port).close()
        for port in self._served.keys() - self._open.keys():
            await self._listen(port)
        self._refused = {port: said for port, said in self._refused.items() if port in self._served}
        if self._again is not None:
            self._again.cancel()
        self._again = asyncio.get_running_loop().call_later(AGAIN, self.dirty.mark) if self._refused else None

    async def close(self) -> None:
        for server in self._open.values():
            await server.close()

    async def _listen(self, port: int) -> None:
        try:
            listener = listen(None, port)  # a load balancer may ask at any address of the node
        except OSError as error:
            self._complain(port, f"health check port {port} of this node: {os.strerror(error.errno or errno.EIO)}")
            return
        self._refused.pop(port, None)
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answers(port))
        server = self._open[port] = HttpServer(app, listener, self.shares)
        await server.start()

    def _answers(self, port: int) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Answers in the form of kube-proxy, which load balancers of clouds read."""

        async def answer(request: web.Request) -> web.Response:
            service = self._served.get(port)
            if service is None:
                return web.Response(status=404)
            body = {
                "service": {"namespace": service.namespace, "name": service.name},
                "localEndpoints": service.local,
                "serviceProxyHealthy": True,
            }
            headers = {"X-Content-Type-Options": "nosniff", "X-Load-Balancing-Endpoint-Weight": str(service.local)}
            return web.json_response(body, status=200 if service.local else 503, headers=headers)

        return answer

    def _complain(self, port: int, said: str) -> None:
        if self._refused.get(port) != said:
            log.warning("health check port not served", port=port, reason=said)
            self._refused[port] = said
            self._tell(self._served[port], said)
