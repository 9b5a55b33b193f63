"""The outside host's server: stands for the internet and remembers its clients.

Started by cluster.py in the outside host's namespace, as a script with the log file as its argument. Answers every GET
and POST on port 80 with the client's address, and writes a line for each. It imports nothing of the sandbox.
"""

import socket
import sys
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv6Address
from pathlib import Path
from typing import ClassVar

PORT = 80


def plain_address(text: str) -> str:
    """An address as text; an IPv4 client of an IPv6 socket is written as IPv4."""
    address = IPv6Address(text.partition("%")[0])
    return str(address.ipv4_mapped or address)


class Echo(BaseHTTPRequestHandler):
    """Answers each request with its source address."""

    log_file: ClassVar[Path]
    _lock: ClassVar[threading.Lock] = threading.Lock()
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        """Answer, and write a line into the log file."""
        client = plain_address(self.client_address[0])
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self._lock, self.log_file.open("a") as log:
            log.write(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {client} {self.command} {self.path}\n")
        body = f"{client}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: the log file has all requests."""


class DualStackServer(ThreadingHTTPServer):
    """Listens for both families on one socket."""

    address_family = socket.AF_INET6
    daemon_threads = True
    request_queue_size = 256

    def server_bind(self) -> None:
        """Let IPv4 clients in as well, whatever the machine's default."""
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def main() -> None:
    """Serve until killed."""
    Echo.log_file = Path(sys.argv[1])
    DualStackServer(("::", PORT), Echo).serve_forever()


if __name__ == "__main__":
    main()
