"""The way to the Kubernetes API: server address, TLS, the Authorization header.

Inside a Pod these come from the service account's files, which are read here. A kubeconfig is read by lightkube, which
is imported only then: it brings a second HTTP stack, and a daemon in a Pod does not need the 9 MB.
"""

import os
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    import httpx2

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN_AGE = 60.0
"""Seconds after which a token file is read again; kubelet replaces it long before the token expires."""


class CredentialsError(Exception):
    """No usable way to reach an API server; the message says what is missing."""


class Authorization(Protocol):
    async def header(self, refused: bool) -> str | None:
        """The Authorization header; `refused`: the last one was answered with 401. Raises CredentialsError."""


class Credentials:
    """One API server and our identity there."""

    def __init__(self, server: str, tls: ssl.SSLContext | None, authorization: Authorization, namespace: str) -> None:
        self.server = server.rstrip("/")
        self.tls = tls
        self.authorization = authorization
        self.namespace = namespace


def load_credentials(kubeconfig: str = "", environ: Mapping[str, str] = os.environ) -> Credentials:
    """Read the named kubeconfig, else the service account, else $KUBECONFIG, else ~/.kube/config.

    Raises CredentialsError.
    """
    if not kubeconfig and "KUBERNETES_SERVICE_HOST" in environ and (SERVICE_ACCOUNT / "token").exists():
        return _service_account(SERVICE_ACCOUNT, environ)
    return _kubeconfig(kubeconfig or environ.get("KUBECONFIG") or "~/.kube/config")


def _service_account(folder: Path, environ: Mapping[str, str]) -> Credentials:
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT", "443")
    if ":" in host:
        host = f"[{host}]"
    try:
        tls = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        namespace = (folder / "namespace").read_text().strip()
    except OSError as error:
        raise CredentialsError(f"service account in {folder}: {error}") from error
    return Credentials(f"https://{host}:{port}", _lenient(tls), TokenFile(folder / "token"), namespace)


def _lenient(tls: ssl.SSLContext) -> ssl.SSLContext:
    """Accept certificates without the extensions of RFC 5280: Python 3.13 refuses those of many clusters otherwise."""
    tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return tls


class TokenFile:
    """A bearer token in a file, which kubelet replaces from time to time."""

    def __init__(self, path: Path) -> None:
        self._path, self._header, self._read = path, "", 0.0

    async def header(self, refused: bool) -> str | None:
        if refused or not self._header or time.monotonic() - self._read > TOKEN_AGE:
            self._load()
        return self._header

    def _load(self) -> None:
        try:
            self._header, self._read = f"Bearer {self._path.read_text().strip()}", time.monotonic()
        except OSError as error:
            raise CredentialsError(f"token file {self._path}: {error}") from error


class Anonymous:
    async def header(self, refused: bool) -> str | None:
        return None


class AuthFlow:
    """Asks one of lightkube's flows (static token, password, exec plugin) for its header, without its transport."""

    def __init__(self, auth: "httpx2.Auth", server: str) -> None:
        self._auth, self._server, self._header = auth, server, ""

    async def header(self, refused: bool) -> str | None:
        if refused or not self._header:
            import httpx2

            flow = self._auth.async_auth_flow(httpx2.Request("GET", self._server))
            try:
                request = await anext(flow)
                if refused:
                    request = await flow.asend(httpx2.Response(401, request=request))
                self._header = request.headers["Authorization"]
            except StopAsyncIteration:
                pass  # this flow has nothing better to offer than what was refused
            finally:
                await flow.aclose()
        return self._header


def _kubeconfig(path: str) -> Credentials:
    from lightkube.config.client_adapter import user_auth, verify_cluster
    from lightkube.config.kubeconfig import KubeConfig
    from lightkube.config.models import User
    from lightkube.core.exceptions import ConfigError

    try:
        file = Path(path).expanduser()
        config = KubeConfig.from_dict(msgspec.yaml.decode(file.read_bytes(), type=dict[str, object]), file).get()
        assert config is not None  # without a current context it raises, as no default is given
        server = config.cluster.server
        user = config.user or User()
        tls = verify_cluster(config.cluster, user, config.abs_file) if server.startswith("https:") else None
        auth = user_auth(user)
    except (ConfigError, OSError, msgspec.DecodeError, ValueError) as error:
        raise CredentialsError(f"kubeconfig {path}: {error}") from error
    except (KeyError, TypeError) as error:
        raise CredentialsError(f"kubeconfig {path}: not the form of a kubeconfig, at {error}") from error
    return Credentials(server, tls and _lenient(tls), AuthFlow(auth, server) if auth else Anonymous(), config.namespace)
