"""Runs in the virtual machine of test_kernel_datapath.py: a UDP server that sends back what it gets, or its client."""

import socket
import sys

SERVER, SERVICE = ("10.5.0.2", 5300), ("10.5.9.9", 5300)
TRIES = 5


def serve() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(SERVER)
        while True:
            data, client = server.recvfrom(65536)
            server.sendto(data, client)


def ask(size: int) -> int:
    """How many of a few datagrams of `size` bytes, each of another client port, come back whole from the Service."""
    answered = 0
    for _ in range(TRIES):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(5)
            client.sendto(bytes(size), SERVICE)
            try:
                data, source = client.recvfrom(65536)
            except TimeoutError:
                continue
            answered += len(data) == size and source == SERVICE
    return answered


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        print(ask(int(sys.argv[2])))
