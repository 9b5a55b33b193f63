"""A node: a containerd and a kubelet in namespaces of their own, on a shared Debian with a layer of the node's own.

Here a node's files are written and its first process is started, found and entered. Its network is network.py's, its
control groups are cgroups.py's; node-init.sh and node-supervise.sh run inside.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from sandbox import cgroups, process
from sandbox.certificates import CA, certificate_path, ensure_certificate, key_path, kubeconfig, node_certificate
from sandbox.layout import Cluster, IpFamily, Node
from sandbox.network import netns_path
from sandbox.paths import PROJECT, STATE, SandboxError

PACKAGES = (
    "ca-certificates",
    "containerd",
    "crun",
    "curl",
    "ethtool",
    "etcd-server",
    "iproute2",
    "iputils-ping",
    "kmod",
    "mount",
    "netcat-openbsd",
    "nftables",
    "procps",
    "runc",
    "tcpdump",
)
PAUSE_IMAGE = "docker.io/kubeovn/sandbox-pause:v1"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
_NODES = STATE / "nodes"
_DIRECTORIES = ("upper", "work", "root", "containerd", "kubelet", "etc")
_INNER_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")
# Joins the node's control groups, makes them the root of its cgroup namespace, and in a unified layout steps down into
# the leaf that may have processes.
_ENTER_CGROUPS = """
for group in $NODE_GROUPS; do echo $$ > "$group/cgroup.procs" || exit 71; done
exec unshare --cgroup -- sh -ec '[ -z "$NODE_LEAF" ] || echo $$ > "$NODE_LEAF/cgroup.procs"; exec "$@"' sh "$@"
"""

_CONTAINERD_CONFIG = f"""\
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs"]

[grpc]
address = "{CONTAINERD_SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
# Machines that are containers themselves may not lower a process's score.
restrict_oom_score_adj = true
disable_apparmor = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/opt/cni/bin"
conf_dir = "/etc/cni/net.d"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "/usr/bin/crun"
SystemdCgroup = false
"""


_MANIFESTS = "manifests"
"""The folder of static Pods, below the node's own files."""


def kubelet_config(cluster: Cluster) -> dict[str, object]:
    """The kubelet's configuration file. JSON is YAML."""
    pki = "/etc/kubernetes"
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "0.0.0.0" if cluster.family is IpFamily.IPV4 else "::",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{pki}/node.crt",
        "tlsPrivateKeyFile": f"{pki}/node.key",
        "clusterDNS": cluster.cluster_dns,
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        # How full the machine's disk is must not evict Pods.
        "evictionHard": {},
        "imageGCHighThresholdPercent": 100,
        "oomScoreAdj": 0,
        "makeIPTablesUtilChains": False,
        "maxPods": 250,
        "serializeImagePulls": False,
        "staticPodPath": f"{pki}/{_MANIFESTS}",
    }


def directory(node: Node) -> Path:
    """The node's state on disk."""
    return _NODES / node.name


def known_numbers() -> set[int]:
    """The numbers of the nodes that have state on disk."""
    names = [path.name for path in _NODES.iterdir()] if _NODES.is_dir() else []
    return {int(name.removeprefix("node")) for name in names if name.removeprefix("node").isdecimal()}


def ensure(node: Node, cluster: Cluster, *, lower: Path, kubelet: Path) -> bool:
    """Let the node run with these inputs; return whether it had to be started."""
    inputs = _write_files(node, cluster)
    found = cgroups.hierarchies()
    groups = [str(hierarchy.path / cgroups.OURS / node.name) for hierarchy in found]
    mounts = "\n".join(f"{each.filesystem} {each.options or '-'} {each.inner_name or '.'}" for each in found)
    environment = {
        "NODE_NAME": node.name,
        "NODE_DIR": str(directory(node)),
        "NODE_LOWER": str(lower),
        "NODE_KUBELET": str(kubelet),
        "NODE_LOGS": str(process.log_path(node.name).parent),
        "NODE_CGROUPS": mounts,
        "NODE_GROUPS": " ".join(groups),
        "NODE_LEAF": f"{groups[0]}/{cgroups.LEAF}" if cgroups.is_unified(found) else "",
        "NODE_ADDRESSES": cluster.node_addresses(node),
    }
    init = PROJECT / "sandbox" / "node-init.sh"
    unshare = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--mount-proc", "--kill-child"]
    argv = ["/bin/sh", "-c", _ENTER_CGROUPS, "sh", "nsenter", f"--net={netns_path(node.netns)}", "--", *unshare]
    wanted = process.Process(
        name=node.name, argv=[*argv, "/bin/sh", str(init)], environment=environment, inputs=inputs + init.read_text()
    )
    running = process.observe(node.name)
    if running is None or running.fingerprint != wanted.fingerprint:
        process.kill([node.name])
        cgroups.prepare(node)
    return process.ensure(wanted)


def _write_files(node: Node, cluster: Cluster) -> str:
    """Write the files that the node reads at start and return them as one text, so that a change can be noticed."""
    for name in (*_DIRECTORIES, f"etc/{_MANIFESTS}"):
        (directory(node) / name).mkdir(parents=True, exist_ok=True)
    certificate = node_certificate(node)
    ensure_certificate(certificate)
    hosts = ["127.0.0.1 localhost", "::1 localhost"]
    hosts += [f"{address.ip} {each.name}" for each in cluster.nodes for address in cluster.management(each)]
    files = {
        "ca.crt": certificate_path(CA).read_text(),
        "node.crt": certificate_path(certificate).read_text(),
        "node.key": key_path(certificate).read_text(),
        "kubeconfig": kubeconfig(certificate, cluster.family),
        "kubelet.json": json.dumps(kubelet_config(cluster), indent=1) + "\n",
        "containerd.toml": _CONTAINERD_CONFIG,
        "supervise.sh": (PROJECT / "sandbox" / "node-supervise.sh").read_text(),
    }
    for name, content in {**files, "hosts": "\n".join(hosts) + "\n"}.items():
        path = directory(node) / "etc" / name
        if not path.exists() or path.read_text() != content:
            path.touch(mode=0o600)
            path.write_text(content)
    # The list of hosts, which grows with the cluster, is no part of it: older nodes need no new start for it.
    return "\n".join(files.values())


def init_pid(node: Node) -> int:
    """The pid, on this machine, of the node's first process: the one child of the process that was started for it."""
    running = process.observe(node.name)
    if running is None:
        raise SandboxError(f"{node.name} does not run; `sandbox up` starts it")
    known = _inits.get(running.pid)
    if known is not None and _parent(known) == running.pid:
        return known
    children = [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if _parent(pid) == running.pid]
    if len(children) != 1:
        raise SandboxError(f"{node.name} is not ready yet: {process.last_words(node.name)}")
    _inits[running.pid] = children[0]
    return children[0]


_inits: dict[int, int] = {}
"""The first processes of nodes, by the process that was started for each; a cache, since a search takes time."""


def _parent(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


def enter_arguments(node: Node, command: Sequence[str]) -> list[str]:
    """The command line that runs something inside all of the node's namespaces."""
    target = ["nsenter", f"--target={init_pid(node)}", *_NAMESPACES, "--"]
    inner = [
        "env",
        "-i",
        f"PATH={_INNER_PATH}",
        "HOME=/root",
        f"TERM={os.environ.get('TERM', 'dumb')}",
        "LC_ALL=C.UTF-8",
    ]
    return [*target, *inner, *command]


def is_ready(node: Node) -> bool:
    """Whether containerd answers inside the node."""
    try:
        argv = enter_arguments(node, ["ctr", "--connect-timeout=2s", "version"])
        return subprocess.run(argv, capture_output=True, timeout=10, check=False).returncode == 0
    except (SandboxError, subprocess.TimeoutExpired):
        return False


def remove_state(node: Node) -> None:
    """Delete the node's state on disk; the node must not run."""
    shutil.rmtree(directory(node), ignore_errors=True)
