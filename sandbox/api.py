"""The few requests the sandbox itself sends to the API server, as its admin.

Enough to wait for it and to label nodes; everything else is done with kubectl.
"""

import json
import ssl
import urllib.request
from typing import Any

from sandbox.certificates import ADMIN, CA, certificate_path, key_path
from sandbox.layout import API_PORT, IpFamily, api_address
from sandbox.paths import SandboxError

_TIMEOUT = 5.0


class Api:
    """A client of the API server."""

    def __init__(self, family: IpFamily) -> None:
        self._base = f"https://{api_address(family)}:{API_PORT}"
        context = ssl.create_default_context(cafile=str(certificate_path(CA)))
        context.load_cert_chain(certificate_path(ADMIN), key_path(ADMIN))
        # Never through a proxy the environment may name: the address is a bridge of this machine.
        handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
        self._opener = urllib.request.build_opener(*handlers)

    def is_ready(self) -> bool:
        """Whether the API server says it is ready."""
        try:
            self._send("GET", "/readyz", None)
        except SandboxError:
            return False
        return True

    def nodes(self) -> dict[str, dict[str, Any]]:
        """All Node objects by name; none when the API server does not answer."""
        try:
            listing = json.loads(self._send("GET", "/api/v1/nodes", None))
        except SandboxError:
            return {}
        return {item["metadata"]["name"]: item for item in listing["items"]}

    def label_node(self, name: str, labels: dict[str, str]) -> None:
        """Set these labels on a Node."""
        self._send("PATCH", f"/api/v1/nodes/{name}", json.dumps({"metadata": {"labels": labels}}).encode())

    def exists(self, path: str) -> bool:
        """Whether there is an object at this path."""
        try:
            self._send("GET", path, None)
        except SandboxError:
            return False
        return True

    def _send(self, method: str, path: str, body: bytes | None) -> bytes:
        request = urllib.request.Request(self._base + path, data=body, method=method)
        request.add_header("Content-Type", "application/merge-patch+json")
        try:
            with self._opener.open(request, timeout=_TIMEOUT) as reply:
                content: bytes = reply.read()
                return content
        except (OSError, ValueError) as error:
            raise SandboxError(f"the API server did not take {method} {path}: {error}") from error


def node_is_ready(node: dict[str, Any]) -> bool:
    """Whether a Node has the condition Ready."""
    return any(each["type"] == "Ready" and each["status"] == "True" for each in node["status"].get("conditions", []))
