"""Keys, certificates and kubeconfigs of the sandbox, made with openssl.

A certificate is made when it is missing or when its wanted content has changed; private keys never leave the state
directory except into the node they belong to.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from sandbox.command import run
from sandbox.layout import API_PORT, API_SERVICE_V4, API_SERVICE_V6, CONTROL_PLANE_NODE, IpFamily, Node, api_address
from sandbox.paths import STATE

PKI = STATE / "pki"
_DAYS = "3650"
_API_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """The wanted content of a certificate. One without an issuer signs itself."""

    name: str
    common_name: str
    organization: str | None = None
    issuer: str | None = None
    server: bool = False
    client: bool = False
    alternative_names: tuple[str, ...] = ()

    def openssl_config(self) -> str:
        """The openssl configuration for the certificate request."""
        subject = [f"CN = {self.common_name}", *([f"O = {self.organization}"] if self.organization else [])]
        if self.issuer is None:
            extensions = [
                "basicConstraints = critical, CA:TRUE",
                "keyUsage = critical, keyCertSign, cRLSign, digitalSignature",
            ]
        else:
            usages = [*(["serverAuth"] if self.server else []), *(["clientAuth"] if self.client else [])]
            extensions = ["basicConstraints = critical, CA:FALSE", "keyUsage = critical, digitalSignature"]
            extensions += [f"extendedKeyUsage = {', '.join(usages)}"]
        extensions += [f"subjectAltName = {', '.join(self.alternative_names)}"] if self.alternative_names else []
        head = ["[req]", "prompt = no", "distinguished_name = subject", "x509_extensions = extensions"]
        return "\n".join([*head, "[subject]", *subject, "[extensions]", *extensions]) + "\n"


CA = Certificate(name="ca", common_name="kube-ovn-sandbox")
FRONT_PROXY_CA = Certificate(name="front-proxy-ca", common_name="kube-ovn-sandbox-front-proxy")
FRONT_PROXY = Certificate(name="front-proxy", common_name="front-proxy", issuer="front-proxy-ca", client=True)
ADMIN = Certificate(name="admin", common_name="admin", organization="system:masters", issuer="ca", client=True)
KUBELET_CLIENT = Certificate(
    name="apiserver-kubelet", common_name="apiserver-kubelet", organization="system:masters", issuer="ca", client=True
)
CONTROLLER_MANAGER = Certificate(
    name="controller-manager", common_name="system:kube-controller-manager", issuer="ca", client=True
)
SCHEDULER = Certificate(name="scheduler", common_name="system:kube-scheduler", issuer="ca", client=True)
API_SERVER = Certificate(
    name="apiserver",
    common_name="kube-apiserver",
    issuer="ca",
    server=True,
    alternative_names=(
        *(f"DNS:{name}" for name in (*_API_NAMES, "localhost", CONTROL_PLANE_NODE.name)),
        *(f"IP:{address}" for address in (CONTROL_PLANE_NODE.v4.ip, CONTROL_PLANE_NODE.v6.ip)),
        *(f"IP:{address}" for address in (API_SERVICE_V4, API_SERVICE_V6, "127.0.0.1", "::1")),
    ),
)
_CONTROL_PLANE = (CA, FRONT_PROXY_CA, FRONT_PROXY, ADMIN, KUBELET_CLIENT, CONTROLLER_MANAGER, SCHEDULER, API_SERVER)
SERVICE_ACCOUNT_KEY = PKI / "service-account.key"
SERVICE_ACCOUNT_PUBLIC = PKI / "service-account.pub"


def node_certificate(node: Node) -> Certificate:
    """The one certificate of a kubelet, as client of the API server and as server for it."""
    return Certificate(
        name=node.name,
        common_name=f"system:node:{node.name}",
        organization="system:nodes",
        issuer="ca",
        server=True,
        client=True,
        alternative_names=(f"DNS:{node.name}", f"IP:{node.v4.ip}", f"IP:{node.v6.ip}"),
    )


def certificate_path(certificate: Certificate) -> Path:
    """Where the certificate lies."""
    return PKI / f"{certificate.name}.crt"


def key_path(certificate: Certificate) -> Path:
    """Where its private key lies."""
    return PKI / f"{certificate.name}.key"


def ensure_control_plane() -> bool:
    """Make all certificates that do not belong to a node; return whether one had to be made."""
    PKI.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = [ensure_certificate(certificate) for certificate in _CONTROL_PLANE]
    if not SERVICE_ACCOUNT_PUBLIC.exists():
        run(["openssl", "genpkey", "-algorithm", "EC", *_CURVE, "-out", SERVICE_ACCOUNT_KEY])
        partial = SERVICE_ACCOUNT_PUBLIC.with_suffix(".new")
        run(["openssl", "pkey", "-in", SERVICE_ACCOUNT_KEY, "-pubout", "-out", partial])
        partial.rename(SERVICE_ACCOUNT_PUBLIC)
        made.append(True)
    return any(made)


_CURVE = ("-pkeyopt", "ec_paramgen_curve:prime256v1")


def ensure_certificate(certificate: Certificate) -> bool:
    """Make the certificate unless the existing one has the same content and the same issuer."""
    config = certificate.openssl_config()
    digest = hashlib.sha256(config.encode())
    if certificate.issuer is not None:
        digest.update((PKI / f"{certificate.issuer}.crt").read_bytes())
    # The stamp is written last, so that an interrupted attempt counts as none.
    stamp = PKI / f"{certificate.name}.stamp"
    if stamp.exists() and stamp.read_text() == digest.hexdigest():
        return False
    stamp.unlink(missing_ok=True)
    config_file = PKI / f"{certificate.name}.cnf"
    config_file.write_text(config)
    command: list[str | Path] = [
        "openssl",
        "req",
        "-x509",
        "-new",
        "-newkey",
        "ec",
        *_CURVE,
        "-nodes",
        "-sha256",
        "-days",
        _DAYS,
    ]
    files: list[str | Path] = [
        "-config",
        config_file,
        "-keyout",
        key_path(certificate),
        "-out",
        certificate_path(certificate),
    ]
    if certificate.issuer is not None:
        files += ["-CA", PKI / f"{certificate.issuer}.crt", "-CAkey", PKI / f"{certificate.issuer}.key"]
    run([*command, *files])
    stamp.write_text(digest.hexdigest())
    return True


def kubeconfig(certificate: Certificate, family: IpFamily) -> str:
    """A kubeconfig for this identity that needs no other file. JSON is YAML."""
    cluster = {
        "server": f"https://{api_address(family)}:{API_PORT}",
        "certificate-authority-data": _encode(certificate_path(CA)),
    }
    user = {
        "client-certificate-data": _encode(certificate_path(certificate)),
        "client-key-data": _encode(key_path(certificate)),
    }
    name = "kube-ovn-sandbox"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": certificate.name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": certificate.name}}],
        "current-context": name,
    }
    return json.dumps(document, indent=1) + "\n"


def _encode(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
