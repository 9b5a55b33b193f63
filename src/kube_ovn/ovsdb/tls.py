"""Certificates for `ssl:` endpoints: the Secret kube-ovn-tls, mounted as files."""

import ssl
from collections.abc import Iterable
from pathlib import Path

from kube_ovn.ovsdb.errors import OvsdbError

FOLDER = Path("/var/run/tls")
"""The folder in which the Secret is mounted: `cacert`, and our own `cert` and `key`."""


def load_tls(endpoints: Iterable[str], folder: Path = FOLDER) -> ssl.SSLContext | None:
    """The TLS context with which a client connects to these endpoints; None when none is `ssl:`. Raises OvsdbError.

    The server's certificate must come from the CA; its names do not matter, for OVN's certificates name no host.
    """
    if not any(endpoint.startswith("ssl:") for endpoint in endpoints):
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    ca, certificate, key = (folder / name for name in ("cacert", "cert", "key"))
    _trust(context, ca)
    _trust(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), certificate)  # a trial: what fails after it is the key
    _read(key)
    try:
        context.load_cert_chain(certificate, key, password="")  # without a password it would ask the terminal
    except (ssl.SSLError, ValueError) as error:
        raise OvsdbError(f"{key} is not the private key, in PEM, of the certificate {certificate}: {error}") from error
    return context


def _trust(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(cadata=_read(path).decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError) as error:
        raise OvsdbError(f"{path} holds no certificate in PEM: {error}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OvsdbError(f"{path}, which TLS to the database needs, cannot be read: {error.strerror}") from error
