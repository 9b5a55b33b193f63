"""Runs in a Pod's network, as a script: datagrams out and back, timed. Knows nothing of this project.

    echo ADDRESS PORT                    answer whatever comes, until killed; a line says when that begins
    rounds ADDRESS PORT COUNT HEX        one datagram after another, each with its own first two bytes as its answer has
    first ADDRESS PORT HEX               ask until a DNS answer has a record; a line says when that begins
    homes ADDRESS PORT TEXT SOURCE...    the answer from there to each of these source addresses

Results are one line of JSON. Times are those of the machine's monotonic clock.
"""

import json
import socket
import sys
import time
from collections.abc import Callable

WARM_UP = 500
PATIENCE, PAUSE = 1.0, 0.005
"""Seconds to wait for one answer, and between two questions of `first`."""
DEADLINE = 30.0
TRIES = 10
MOST_LOST = 20
"""Lost rounds after which the measurement is given up."""


def echo(address: str, port: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mine:
        mine.bind((address, int(port)))
        print("ready", flush=True)
        while True:
            data, client = mine.recvfrom(4096)
            mine.sendto(data, client)


def rounds(address: str, port: str, count: str, text: str) -> None:
    """Print the seconds of each round, None for lost ones, and the last answer."""
    payload, found, last, lost = bytes.fromhex(text)[2:], [], b"", 0
    with _connected(address, port) as mine:
        for number in range(WARM_UP + int(count)):
            spent, answer = _round(mine, (number % 65536).to_bytes(2), payload)
            last, lost = answer or last, lost + (not answer)
            if lost > MOST_LOST:
                sys.exit(f"{lost} of {number + 1} were not answered")
            if number >= WARM_UP:
                found.append(spent)
    print(json.dumps({"seconds": found, "last": last.hex()}))


def _round(mine: socket.socket, mark: bytes, payload: bytes) -> tuple[float | None, bytes]:
    started = time.perf_counter()
    mine.send(mark + payload)
    try:
        while (data := mine.recv(4096))[:2] != mark:
            pass  # an answer to a question that was given up
    except (TimeoutError, ConnectionRefusedError):
        return None, b""
    return time.perf_counter() - started, data


def first(address: str, port: str, text: str) -> None:
    """Print the time of the first answer with a record."""
    payload, end = bytes.fromhex(text), time.monotonic() + DEADLINE
    with _connected(address, port) as mine:
        mine.settimeout(PAUSE)
        print("ready", flush=True)
        while time.monotonic() < end:
            asked = time.monotonic()
            mine.send(payload)
            try:
                data = mine.recv(4096)
            except (TimeoutError, ConnectionRefusedError):
                continue
            if data[3] & 15 == 0 and data[6:8] != b"\0\0":
                print(json.dumps(time.monotonic()))
                return
            time.sleep(max(0.0, asked + PAUSE - time.monotonic()))
    sys.exit(f"no answer within {DEADLINE:g} s")


def homes(address: str, port: str, text: str, *sources: str) -> None:
    """Print the answers by source address."""
    print(json.dumps({source: _ask(address, port, text, source) for source in sources}))


def _ask(address: str, port: str, text: str, source: str) -> str:
    for _ in range(TRIES):
        with _connected(address, port, source) as mine:
            mine.send(text.encode())
            try:
                return mine.recv(4096).decode()
            except (TimeoutError, ConnectionRefusedError):
                continue
    sys.exit(f"nothing came back to {source}")


def _connected(address: str, port: str, source: str = "") -> socket.socket:
    mine = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    mine.bind((source, 0))
    mine.connect((address, int(port)))
    mine.settimeout(PATIENCE)
    return mine


WAYS: dict[str, Callable[..., None]] = {"echo": echo, "rounds": rounds, "first": first, "homes": homes}


if __name__ == "__main__":
    WAYS[sys.argv[1]](*sys.argv[2:])
