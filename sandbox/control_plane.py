"""etcd, API server, controller manager and scheduler, in the network namespace of node1.

Only their command lines, their start and the wait for them are here. In node1's namespace, so that the API server
reaches Pods the way a real control-plane node does.
"""

import time
from collections.abc import Mapping
from pathlib import Path

from sandbox import process
from sandbox.api import Api
from sandbox.certificates import (
    ADMIN,
    API_SERVER,
    CA,
    CONTROLLER_MANAGER,
    FRONT_PROXY,
    FRONT_PROXY_CA,
    KUBELET_CLIENT,
    SCHEDULER,
    SERVICE_ACCOUNT_KEY,
    SERVICE_ACCOUNT_PUBLIC,
    Certificate,
    certificate_path,
    key_path,
    kubeconfig,
)
from sandbox.layout import API_PORT, CONTROL_PLANE_NODE, Cluster, IpFamily
from sandbox.network import netns_path
from sandbox.paths import STATE, SandboxError

ETCD = "etcd"
API = "kube-apiserver"
MANAGER = "kube-controller-manager"
SCHED = "kube-scheduler"
NAMES = (ETCD, API, MANAGER, SCHED)
ADMIN_KUBECONFIG = STATE / "admin.kubeconfig"
_ETCD_URL = "http://127.0.0.1:2379"
_READY_DEADLINE = 120.0
# Tests send more requests in a minute than the default limits allow.
_CLIENT_RATE = ("--kube-api-qps=200", "--kube-api-burst=400")


def etcd_arguments(etcd: Path) -> list[str]:
    """etcd's command line: on the loopback of its namespace. Its data need not survive a power cut, so it does not
    sync.
    """
    options = {
        "name": "sandbox",
        "data-dir": str(STATE / "etcd"),
        "listen-client-urls": _ETCD_URL,
        "advertise-client-urls": _ETCD_URL,
        "listen-peer-urls": "http://127.0.0.1:2380",
        "unsafe-no-fsync": "true",
        "log-level": "warn",
    }
    return [str(etcd), *_options(options)]


def api_server_arguments(program: Path, cluster: Cluster) -> list[str]:
    """The API server's command line."""
    address = CONTROL_PLANE_NODE.v6.ip if cluster.family is IpFamily.IPV6 else CONTROL_PLANE_NODE.v4.ip
    options = {
        "advertise-address": str(address),
        "bind-address": "::",
        "secure-port": str(API_PORT),
        "etcd-servers": _ETCD_URL,
        "service-cluster-ip-range": cluster.service_ranges,
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "allow-privileged": "true",
        # There is no kube-proxy beside it: it finds the Pods behind a Service itself.
        "enable-aggregator-routing": "true",
        "event-ttl": "1h",
        "max-requests-inflight": "2000",
        "max-mutating-requests-inflight": "1000",
        "client-ca-file": str(certificate_path(CA)),
        "tls-cert-file": str(certificate_path(API_SERVER)),
        "tls-private-key-file": str(key_path(API_SERVER)),
        "kubelet-certificate-authority": str(certificate_path(CA)),
        "kubelet-client-certificate": str(certificate_path(KUBELET_CLIENT)),
        "kubelet-client-key": str(key_path(KUBELET_CLIENT)),
        "kubelet-preferred-address-types": "InternalIP",
        "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
        "service-account-key-file": str(SERVICE_ACCOUNT_PUBLIC),
        "service-account-signing-key-file": str(SERVICE_ACCOUNT_KEY),
        "requestheader-client-ca-file": str(certificate_path(FRONT_PROXY_CA)),
        "requestheader-allowed-names": FRONT_PROXY.common_name,
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-username-headers": "X-Remote-User",
        "proxy-client-cert-file": str(certificate_path(FRONT_PROXY)),
        "proxy-client-key-file": str(key_path(FRONT_PROXY)),
    }
    return [str(program), *_options(options)]


def manager_arguments(program: Path) -> list[str]:
    """The controller manager's command line. It gives no node a Pod CIDR: addresses are the fabric's."""
    options = {
        "bind-address": "127.0.0.1",
        "leader-elect": "false",
        "use-service-account-credentials": "true",
        "root-ca-file": str(certificate_path(CA)),
        "service-account-private-key-file": str(SERVICE_ACCOUNT_KEY),
        "cluster-signing-cert-file": str(certificate_path(CA)),
        "cluster-signing-key-file": str(key_path(CA)),
        **_kubeconfig_options(CONTROLLER_MANAGER),
    }
    return [str(program), *_options(options), *_CLIENT_RATE]


def scheduler_arguments(program: Path) -> list[str]:
    """The scheduler's command line."""
    options = {"bind-address": "127.0.0.1", "leader-elect": "false", **_kubeconfig_options(SCHEDULER)}
    return [str(program), *_options(options), *_CLIENT_RATE]


def _options(options: Mapping[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in options.items()]


def _kubeconfig_path(certificate: Certificate) -> Path:
    return ADMIN_KUBECONFIG if certificate is ADMIN else STATE / "pki" / f"{certificate.name}.kubeconfig"


def _kubeconfig_options(certificate: Certificate) -> dict[str, str]:
    path = str(_kubeconfig_path(certificate))
    return {"kubeconfig": path, "authentication-kubeconfig": path, "authorization-kubeconfig": path}


def write_kubeconfigs(cluster: Cluster) -> None:
    """The admin's kubeconfig and those of the control plane's own clients."""
    for certificate in (ADMIN, CONTROLLER_MANAGER, SCHEDULER):
        path = _kubeconfig_path(certificate)
        content = kubeconfig(certificate, cluster.family)
        if not path.exists() or path.read_text() != content:
            path.touch(mode=0o600)
            path.write_text(content)


def ensure_server(cluster: Cluster, programs: Mapping[str, Path], etcd: Path) -> list[str]:
    """Let etcd and the API server run; return the names of those that had to be started."""
    inputs = certificate_path(CA).read_text() + certificate_path(API_SERVER).read_text()
    wanted = [
        _process(ETCD, etcd_arguments(etcd), ""),
        _process(API, api_server_arguments(programs[API], cluster), inputs),
    ]
    return [each.name for each in wanted if process.ensure(each)]


def ensure_clients(programs: Mapping[str, Path]) -> list[str]:
    """Let controller manager and scheduler run, which give up at once when there is no API server yet; return the names
    of those that had to be started.
    """
    wanted = []
    for name, arguments, identity in (
        (MANAGER, manager_arguments(programs[MANAGER]), CONTROLLER_MANAGER),
        (SCHED, scheduler_arguments(programs[SCHED]), SCHEDULER),
    ):
        wanted.append(_process(name, arguments, _kubeconfig_path(identity).read_text()))
    return [each.name for each in wanted if process.ensure(each)]


def _process(name: str, arguments: list[str], inputs: str) -> process.Process:
    # Not `ip netns exec`: it would hide the control groups.
    enter = ["nsenter", f"--net={netns_path(CONTROL_PLANE_NODE.netns)}", "--"]
    return process.Process(name=name, argv=[*enter, *arguments], inputs=inputs)


def wait_until_ready(api: Api) -> None:
    """Wait for the API server. Raises SandboxError when it ends or takes too long."""
    deadline = time.monotonic() + _READY_DEADLINE
    while not api.is_ready():
        for name in (ETCD, API):
            if process.observe(name) is None:
                raise SandboxError(f"{name} ended: {process.last_words(name)}")
        if time.monotonic() > deadline:
            raise SandboxError(f"the API server is not ready after {_READY_DEADLINE:.0f} s: {process.last_words(API)}")
        time.sleep(0.1)
