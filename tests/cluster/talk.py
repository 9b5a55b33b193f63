"""Runs on the outside host, as a script with an address, a port and a file: one connection, a request after another.

A line for each answer. It ends with an error when the connection does, or when an answer takes too long.
"""

import http.client
import sys
import time

PAUSE, DEADLINE = 0.02, 10.0
"""Seconds between an answer and the next request, and for an answer."""


def main(address: str, port: str, path: str) -> None:
    connection = http.client.HTTPConnection(address, int(port), timeout=DEADLINE)
    connection.connect()
    connection.auto_open = 0  # one connection and no other
    with open(path, "w") as file:
        while True:
            connection.request("GET", "/hostname")
            connection.getresponse().read()
            file.write("answer\n")
            file.flush()
            time.sleep(PAUSE)


if __name__ == "__main__":
    main(*sys.argv[1:])
