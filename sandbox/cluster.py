"""The whole sandbox: bring it up, repair it, take it down.

Every step makes only what is missing, so `up` may be interrupted anywhere and called again. The parts know how to make
things; the order is here.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from sandbox import cgroups, control_plane, network, node, node_images, process, programs
from sandbox.api import Api, node_is_ready
from sandbox.certificates import ensure_control_plane as ensure_certificates
from sandbox.layout import CONTROL_PLANE_NODE, OUTSIDE_NETNS, Cluster, IpFamily, Node
from sandbox.mounts import mount_points
from sandbox.paths import PROJECT, RUN, STATE, SandboxError
from sandbox.progress import say, step
from sandbox.rootfs import build_rootfs

OUTSIDE = "outside"
OUTSIDE_LOG = STATE / "log" / "outside-visitors.log"
BIN = STATE / "bin"
_RECORD = STATE / "cluster.json"
_NODES_DEADLINE = 120.0
_CONTROL_PLANE_LABELS = {"node-role.kubernetes.io/control-plane": "", "kube-ovn/role": "master"}
_DEFAULT_ACCOUNT = "/api/v1/namespaces/default/serviceaccounts/default"


def wanted_cluster(node_count: int, family: IpFamily) -> Cluster:
    """The cluster that `up` is to make: never fewer nodes than there are, and no other address family."""
    STATE.mkdir(parents=True, exist_ok=True)
    if _RECORD.exists() and (recorded := json.loads(_RECORD.read_text())["family"]) != family:
        raise SandboxError(
            f"the sandbox that is here is {recorded}; run `sandbox down` before making one that is {family}"
        )
    present = node.known_numbers()
    if present and max(present) > node_count:
        say(f"{max(present)} nodes are here already and stay; `sandbox down` removes them")
    cluster = Cluster(node_count=max([node_count, *present]), family=family)
    partial = _RECORD.with_suffix(".new")
    partial.write_text(json.dumps({"family": family, "nodes": cluster.node_count}))
    partial.rename(_RECORD)
    return cluster


def recorded_family() -> IpFamily | None:
    """The address family of the cluster that is here; None when none is."""
    return recorded_cluster().family if _RECORD.exists() else None


def recorded_cluster() -> Cluster:
    """The cluster that `up` made."""
    if not _RECORD.exists():
        raise SandboxError("there is no sandbox here; `sandbox up` makes one")
    record = json.loads(_RECORD.read_text())
    return Cluster(node_count=int(record["nodes"]), family=IpFamily(record["family"]))


def up(node_count: int, family: IpFamily) -> None:
    """Make or repair the cluster and wait until all its nodes are registered."""
    found = programs.find_programs(programs.KUBERNETES, programs.HELM, programs.PAUSE)
    lower = build_rootfs(node.PACKAGES)
    archives = [node_images.pause_archive(found["pause"]), node_images.tools_archive(found["agnhost"])]
    cluster = wanted_cluster(node_count, family)
    _link_programs(found)
    network.ensure_shared()
    for each in cluster.nodes:
        network.ensure_node(each, cluster)
    ensure_certificates()
    control_plane.write_kubeconfigs(cluster)
    started = control_plane.ensure_server(cluster, found, find_etcd(lower))
    started += [OUTSIDE] if process.ensure(_outside_process()) else []
    started += [
        each.name for each in cluster.nodes if node.ensure(each, cluster, lower=lower, kubelet=found["kubelet"])
    ]
    say(f"started {', '.join(started)}" if started else "every process is there already")
    api = Api(family)
    with step("waiting for the API server"):
        control_plane.wait_until_ready(api)
    control_plane.ensure_clients(found)
    with step("loading the sandbox's own images"):
        _wait_for_runtimes(cluster)
        for archive in archives:
            node_images.load(archive, cluster.nodes)
    with step(f"waiting for {cluster.node_count} nodes"):
        _wait_for_nodes(api, cluster)
    say(f"the sandbox is up; `. {PROJECT}/sandbox/env.sh` points kubectl at it")


def find_etcd(lower: Path) -> Path:
    """etcd from KUBEBUILDER_ASSETS or PATH, else the one in the nodes' Debian, which needs only a C library."""
    directories = [os.environ.get("KUBEBUILDER_ASSETS", ""), os.environ.get("PATH", "")]
    found = shutil.which("etcd", path=os.pathsep.join(part for part in directories if part))
    return Path(found) if found else lower / "usr" / "bin" / "etcd"


def _link_programs(found: Mapping[str, Path]) -> None:
    # One directory for PATH, with links into the cache.
    BIN.mkdir(parents=True, exist_ok=True)
    for name, path in found.items():
        link = BIN / name
        if not link.is_symlink() or link.readlink() != path:
            link.unlink(missing_ok=True)
            link.symlink_to(path)


def _outside_process() -> process.Process:
    program = PROJECT / "sandbox" / "outside.py"
    enter = ["nsenter", f"--net={network.netns_path(OUTSIDE_NETNS)}", "--"]
    # -P: the modules beside the script are not for it.
    argv = [*enter, sys.executable, "-P", str(program), str(OUTSIDE_LOG)]
    return process.Process(name=OUTSIDE, argv=argv, inputs=program.read_text())


def _wait_for_runtimes(cluster: Cluster) -> None:
    deadline = time.monotonic() + _NODES_DEADLINE
    for each in cluster.nodes:
        while not node.is_ready(each):
            if process.observe(each.name) is None:
                raise SandboxError(f"{each.name} ended: {process.last_words(each.name)}")
            if time.monotonic() > deadline:
                reason = process.last_words(f"{each.name}-containerd")
                raise SandboxError(f"containerd of {each.name} does not answer: {reason}")
            time.sleep(0.1)


def _wait_for_nodes(api: Api, cluster: Cluster) -> None:
    """Wait for the kubelets to register, label the control plane, and wait until Pods are accepted."""
    deadline = time.monotonic() + _NODES_DEADLINE
    while missing := sorted({each.name for each in cluster.nodes} - api.nodes().keys()):
        if time.monotonic() > deadline:
            reason = process.last_words(f"{missing[0]}-kubelet")
            raise SandboxError(f"{', '.join(missing)} did not register: {reason}")
        time.sleep(0.1)
    name = CONTROL_PLANE_NODE.name
    registered = api.nodes().get(name)
    labels = registered["metadata"]["labels"] if registered else {}
    if any(labels.get(key) != value for key, value in _CONTROL_PLANE_LABELS.items()):
        api.label_node(name, _CONTROL_PLANE_LABELS)
    while not api.exists(_DEFAULT_ACCOUNT):
        # Pods of a namespace without it are refused.
        if time.monotonic() > deadline:
            raise SandboxError(f"no default service account appeared: {process.last_words(control_plane.MANAGER)}")
        time.sleep(0.1)


def down() -> None:
    """Remove the whole sandbox, and leftovers of an interrupted `up` or an earlier run."""
    numbers = node.known_numbers() | network.node_numbers_present()
    nodes = [Node(number=number) for number in sorted(numbers)]
    ended = process.kill([running.name for running in process.observe_all()])
    # A group can be removed once its processes are gone, so this also waits for those inside the nodes.
    cgroups.remove_everything()
    network.remove_everything(nodes)
    for place in (STATE, RUN):
        left = [point for point in mount_points() if point == place or place in point.parents]
        if left:
            raise SandboxError(f"{left[0]} is still mounted; unmount it and try again")
        shutil.rmtree(place, ignore_errors=True)
        if place.exists():
            raise SandboxError(f"{place} could not be removed")
    say(f"the sandbox is gone ({len(ended)} processes ended)" if ended else "no sandbox is left here")


def status() -> str:
    """A table of the processes and, where the API server answers, the nodes."""
    cluster = recorded_cluster()
    objects = Api(cluster.family).nodes()
    lines = []
    for name in (*control_plane.NAMES, OUTSIDE, *(each.name for each in cluster.nodes)):
        running = process.observe(name)
        state = f"pid {running.pid}" if running else "not running"
        if running and name in objects:
            state += ", Ready" if node_is_ready(objects[name]) else ", NotReady"
        lines.append(f"{name:26}{state}")
    return "\n".join(lines)
