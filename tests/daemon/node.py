"""A node without a kubelet, in a network namespace: real API server, OVN, Open vSwitch, daemon and plugin.

A test module imports the fixture `node` and lists it in `__all__`; the test plays controller and container runtime.
"""

import asyncio
import ctypes
import json
import os
import shlex
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, TypeVar

import pytest

from kube_ovn.linux.icmp import echo
from kube_ovn.model import names
from sandbox.command import run
from sandbox.paths import PROJECT
from tests.daemon.kube_apiserver import ADMIN, KubeApiserver
from tests.daemon.ovn import Ovn

T = TypeVar("T")

NAME = "node1"
DEADLINE = 30.0
VSWITCHD = "../lib/openvswitch-switch/ovs-vswitchd"
"""Where Debian keeps the program itself; /usr/sbin/ovs-vswitchd is a link that leads out of the root file system."""
JOIN = {
    "allocated": "true",
    "ip_address": "100.64.0.2",
    "mac_address": "0a:00:00:00:00:02",
    "cidr": "100.64.0.0/16",
    "gateway": "100.64.0.1",
    "logical_switch": "join",
    "port_name": f"node-{NAME}",
}
CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SUBNETS, IPS = "/apis/kubeovn.io/v1/subnets", "/apis/kubeovn.io/v1/ips"


def definition(kind: str) -> dict[str, Any]:
    """The part of the chart's definition of a kind that a node needs: enough to follow the objects."""
    plural = f"{kind.lower()}s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.kubeovn.io"},
        "spec": {
            "group": "kubeovn.io",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"},
            "scope": "Cluster",
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                }
            ],
        },
    }


TOPOLOGY = f"""
lr-add ovn-cluster
ls-add join
ls-add ovn-default
lrp-add ovn-cluster ovn-cluster-join 0a:00:00:00:01:01 100.64.0.1/16
lrp-add ovn-cluster ovn-cluster-ovn-default 0a:00:00:00:01:02 10.16.0.1/16
lsp-add join join-ovn-cluster
lsp-set-type join-ovn-cluster router
lsp-set-addresses join-ovn-cluster router
lsp-set-options join-ovn-cluster router-port=ovn-cluster-join
lsp-add ovn-default ovn-default-ovn-cluster
lsp-set-type ovn-default-ovn-cluster router
lsp-set-addresses ovn-default-ovn-cluster router
lsp-set-options ovn-default-ovn-cluster router-port=ovn-cluster-ovn-default
lsp-add join node-{NAME}
lr-route-add ovn-cluster 0.0.0.0/0 100.64.0.2
lr-policy-add ovn-cluster 30000 "ip4.dst == 172.30.0.11" reroute 100.64.0.2
"""


def _mac(address: str) -> str:
    return "0a:00:" + ip_address(address).packed.hex(":")


def until(what: str, probe: Callable[[], T], deadline: float = DEADLINE) -> T:
    end = time.monotonic() + deadline
    while not (outcome := probe()):
        assert time.monotonic() < end, f"gave up waiting: {what}"
        time.sleep(0.02)
    return outcome


def in_netns(path: str, function: Callable[[], T]) -> T:
    """Call a function in a thread that lives and ends in a network namespace."""

    def enter() -> T:
        with open(path) as file:
            assert ctypes.CDLL(None).setns(file.fileno(), 0) == 0
        return function()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(enter).result()


def ping(netns: str, address: str, link: str = "eth0") -> bool:
    """Whether an address answers a ping from inside a network namespace."""
    try:
        in_netns(netns, lambda: asyncio.run(echo(ip_address(address), link, 2)))
    except OSError:
        return False
    return True


class Node:
    """One node; the namespace is called `netns`, its files are in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.netns = f"kot-{uuid.uuid4().hex[:8]}"
        self.conflist = folder / "net.d" / "01-kube-ovn.conflist"
        self.socket = folder / "cni.sock"
        self.plugin = folder / "kube-ovn"
        self._daemon: subprocess.Popen[bytes] | None = None
        self._switch: dict[str, subprocess.Popen[bytes]] = {}
        self._namespaces: list[str] = []
        run(["ip", "netns", "add", self.netns])
        run(["ip", "-n", self.netns, "link", "set", "lo", "up"])
        self.ip("link", "add", "eth0", "mtu", "1500", "type", "veth", "peer", "name", "wire")
        self.ip("link", "set", "eth0", "up")
        self.ip("link", "set", "wire", "up")
        self.ip("address", "add", "172.30.0.11/24", "dev", "eth0")
        self.ip("route", "add", "default", "via", "172.30.0.1")  # kube-apiserver insists on one
        build: list[str | Path] = ["go", "build", "-trimpath", "-ldflags", "-s -w", "-o", self.plugin, "."]
        run(build, cwd=PROJECT / "cni", env={**os.environ, "CGO_ENABLED": "0"})
        (folder / "net.d").mkdir()
        self.ovn = Ovn(folder)
        self.kube = self.inside(lambda: KubeApiserver(folder))

    def inside(self, function: Callable[[], T]) -> T:
        """Call a function in the node's network namespace; processes that it starts stay there."""
        return in_netns(f"/run/netns/{self.netns}", function)

    def ip(self, *arguments: str) -> str:
        return run(["ip", "-n", self.netns, *arguments])

    # --- The parts ---

    def start(self) -> None:
        self.inside(self.kube.start_etcd)
        self.inside(self.kube.start)
        for name in ("nb", "sb", "vswitch"):
            self.ovn.start_database(name)
        self.ovn.start_northd()
        for line in TOPOLOGY.strip().splitlines():
            self.ovn.nbctl(*shlex.split(line))
        self.ovn.nbctl("lsp-set-addresses", JOIN["port_name"], f"{JOIN['mac_address']} {JOIN['ip_address']}")
        self.start_switch()

    def start_switch(self) -> None:
        vsctl = ["--no-wait", f"--db={self.ovn.endpoint('vswitch')}"]
        settings = {
            "system-id": "7a9f0a54-5a2c-4b5e-9f3a-000000000001",
            "hostname": NAME,
            "ovn-remote": self.ovn.endpoint("sb"),
            "ovn-encap-type": "geneve",
            "ovn-encap-ip": "172.30.0.11",
            "ovn-bridge-datapath-type": "netdev",
        }
        pairs = [f'external_ids:{key}="{value}"' for key, value in settings.items()]
        self.ovn.run("ovs-vsctl", *vsctl, "set", "Open_vSwitch", ".", "other_config:userspace-tso-enable=true", *pairs)
        bridge = ["datapath_type=netdev", "fail_mode=secure", "other_config:disable-in-band=true"]
        self.ovn.run("ovs-vsctl", *vsctl, "--may-exist", "add-br", "br-int", "--", "set", "Bridge", "br-int", *bridge)
        control = f"--unixctl={self.folder}/vswitchd.ctl"
        self._start_inside(VSWITCHD, self.ovn.endpoint("vswitch"), "--disable-system", control)
        until("the bridge is there", lambda: (self.folder / "br-int.mgmt").exists())
        control, log = f"--unixctl={self.folder}/controller.ctl", f"--log-file={self.folder}/acl.log"
        self._start_inside("ovn-controller", self.ovn.endpoint("vswitch"), control, *LOGGING, log)

    def stop_switch(self) -> None:
        """End vswitchd and ovn-controller as a crash would."""
        for name in list(self._switch):
            process = self._switch.pop(name)
            process.kill()
            process.wait(DEADLINE)
        (self.folder / "br-int.mgmt").unlink(missing_ok=True)

    def _start_inside(self, program: str, *arguments: str) -> None:
        environ = {**os.environ, **{f"{p}_{d}": str(self.folder) for p in ("OVS", "OVN") for d in ("RUNDIR", "LOGDIR")}}
        argv = ["nsenter", f"--net=/run/netns/{self.netns}", *self.ovn.argv(program, *arguments)]
        with (self.folder / f"{Path(program).name}.log").open("ab") as log:
            self._switch[program] = subprocess.Popen(argv, stdout=log, stderr=log, env=environ)

    def start_daemon(self) -> None:
        flags = {
            "node-name": NAME,
            "pod-ip": "172.30.0.11",
            "metrics-address": "172.30.0.11",
            "kubeconfig": self.kube.kubeconfig,
            "ovs-socket": self.folder / "vswitch.sock",
            "bind-socket": self.socket,
            "acl-log": self.folder / "acl.log",
            "cni-conf-dir": self.conflist.parent,
        }
        argv = ["nsenter", f"--net=/run/netns/{self.netns}"]
        argv += ["unshare", "--mount", "--propagation", "slave"]  # as in a container: mounts of its own, and the node's
        argv += [sys.executable, "-c", MAIN]
        argv += [f"--{key}={value}" for key, value in flags.items()]
        with (self.folder / "daemon.log").open("ab") as log:
            self._daemon = subprocess.Popen(argv, stdout=log, stderr=log)
        until("the daemon listens", self.socket.is_socket)

    def stop_daemon(self, *, kill: bool = False) -> int:
        assert self._daemon is not None
        process, self._daemon = self._daemon, None
        process.kill() if kill else process.terminate()
        code = process.wait(DEADLINE)
        self.socket.unlink(missing_ok=True)
        return code

    def health(self, path: str, address: str = "172.30.0.11") -> tuple[int, str]:
        """Status and text of an answer of the daemon's port for health and metrics. Raises OSError."""

        def request() -> tuple[int, str]:
            try:
                with urllib.request.urlopen(f"http://{address}:10665{path}", timeout=10) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()

        return self.inside(request)

    @property
    def daemon_pid(self) -> int:
        assert self._daemon is not None
        return self._daemon.pid

    def stop(self) -> None:
        if self._daemon is not None:
            self.stop_daemon()
        self.stop_switch()
        self.ovn.stop()
        self.kube.stop()
        for name in [*self._namespaces, self.netns]:
            run(["ip", "netns", "delete", name])

    # --- The test as the controller ---

    def api(self, method: str, path: str, body: object = None) -> Any:
        def request() -> Any:
            kinds = {"PATCH": "application/merge-patch+json"}
            headers = {"Authorization": f"Bearer {ADMIN}", "Content-Type": kinds.get(method, "application/json")}
            data = None if body is None else json.dumps(body).encode()
            asked = urllib.request.Request(self.kube.url + path, data=data, headers=headers, method=method)
            context = ssl.create_default_context(cafile=str(self.kube.ca))
            with urllib.request.urlopen(asked, context=context, timeout=10) as answer:
                return json.load(answer)

        return self.inside(request)

    def define(self, kind: str) -> None:
        name = self.api("POST", CRD, definition(kind))["metadata"]["name"]

        def established() -> bool:
            found = self.api("GET", f"{CRD}/{name}")
            return any(c["type"] == "Established" for c in found.get("status", {}).get("conditions") or [])

        until(f"objects of kind {kind} can be made", established)

    def create_subnet(self, name: str, cidr_block: str, **spec: object) -> None:
        """Make a Subnet that is in effect."""
        meta = {"name": name}
        self.api("POST", SUBNETS, {"apiVersion": "kubeovn.io/v1", "kind": "Subnet", "metadata": meta, "spec": spec})
        self.set_status(name, cidrBlock=cidr_block)

    def set_status(self, subnet: str, **status: object) -> None:
        self.api("PATCH", f"{SUBNETS}/{subnet}/status", {"status": status})

    def delete_subnet(self, name: str) -> None:
        self.api("DELETE", f"{SUBNETS}/{name}")

    def register(self) -> None:
        """Make the Node, with its address on the join switch."""
        annotations = {f"ovn.kubernetes.io/{key}": value for key, value in JOIN.items()}
        meta = {"name": NAME, "annotations": annotations}
        self.api("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": meta})
        status = {"addresses": [{"type": "InternalIP", "address": "172.30.0.11"}]}
        self.api("PATCH", f"/api/v1/nodes/{NAME}/status", {"status": status})

    def create_pod(self, name: str, address: str = "", subnet: str = "ovn-default") -> str:
        """Make a Pod on this node, with an address when one is given; returns its UID."""
        containers = [{"name": "c", "image": "i"}]
        spec = {"nodeName": NAME, "containers": containers}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        uid = self.api("POST", "/api/v1/namespaces/default/pods", body)["metadata"]["uid"]
        if address:
            self.grant(name, address, subnet)
        return str(uid)

    def grant(self, name: str, address: str, subnet: str = "ovn-default") -> None:
        """Write the Pod's logical port, its IP object and its annotations, as for the /16 that its address is in."""
        self.connect(name, address)
        self.record(name, address, subnet)
        self.annotate(name, address, subnet)

    def connect(self, name: str, address: str) -> None:
        """Write a Pod's logical port."""
        mac, port = _mac(address), f"{name}.default"
        self.ovn.nbctl(
            "--may-exist", "lsp-add", "ovn-default", port, "--", "lsp-set-addresses", port, f"{mac} {address}"
        )

    def record(self, name: str, address: str, subnet: str = "ovn-default") -> None:
        """Make the IP object of a Pod, or make it anew."""
        uid = self.api("GET", f"/api/v1/namespaces/default/pods/{name}")["metadata"]["uid"]
        self.forget(name)
        spec = {"subnet": subnet, "ipAddress": address, "macAddress": _mac(address), "ownerUID": uid}
        spec |= {"podName": name, "namespace": "default"}
        meta = {"name": f"{name}.default", "labels": {names.IP_NODE: NAME}}
        self.api("POST", IPS, {"apiVersion": "kubeovn.io/v1", "kind": "IP", "metadata": meta, "spec": spec})

    def forget(self, name: str) -> None:
        """Remove the IP object of a Pod."""
        try:
            self.api("DELETE", f"{IPS}/{name}.default")
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise

    def annotate(self, name: str, address: str, subnet: str = "ovn-default") -> None:
        """Write the annotations that tell of an address."""
        annotations = {
            "allocated": "true",
            "ip_address": address,
            "mac_address": _mac(address),
            "cidr": str(ip_network(f"{address}/16", strict=False)),
            "gateway": str(ip_network(f"{address}/16", strict=False)[1]),
            "logical_switch": subnet,
        }
        values = {f"ovn.kubernetes.io/{key}": value for key, value in annotations.items()}
        self.api("PATCH", f"/api/v1/namespaces/default/pods/{name}", {"metadata": {"annotations": values}})

    def delete_pod(self, name: str) -> None:
        options = {"gracePeriodSeconds": 0}
        self.api("DELETE", f"/api/v1/namespaces/default/pods/{name}", options)
        self.forget(name)

    # --- The test as the container runtime ---

    def make_netns(self) -> str:
        name = f"kot-{uuid.uuid4().hex[:8]}"
        run(["ip", "netns", "add", name])
        self._namespaces.append(name)
        return f"/run/netns/{name}"

    def remove_netns(self, path: str) -> None:
        name = os.path.basename(path)
        self._namespaces.remove(name)
        run(["ip", "netns", "delete", name])

    def cni(
        self, command: str, container: str, netns: str = "", pod: str = "", uid: str = "", **conf: object
    ) -> tuple[int, Any]:
        """Exit code and answer of the plugin."""
        args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod};K8S_POD_UID={uid}"
        env = {"CNI_COMMAND": command, "CNI_CONTAINERID": container, "CNI_IFNAME": "eth0", "CNI_PATH": "/x"}
        env |= {"CNI_NETNS": netns, "CNI_ARGS": args}
        stdin = {
            "cniVersion": "1.0.0",
            "name": "kube-ovn",
            "type": "kube-ovn",
            "server_socket": str(self.socket),
            **conf,
        }
        process = subprocess.run(
            [self.plugin], input=json.dumps(stdin).encode(), env=env, capture_output=True, timeout=100
        )
        return process.returncode, json.loads(process.stdout) if process.stdout else None

    def interfaces(self) -> set[str]:
        """Names of our Interface rows."""
        database = f"--db={self.ovn.endpoint('vswitch')}"
        where = ["--bare", "--columns=name", "find", "Interface", "external_ids:vendor=kube-ovn"]
        return set(self.ovn.run("ovs-vsctl", database, "--no-wait", *where).split())

    def links(self) -> set[str]:
        shown = json.loads(self.ip("-json", "link", "show"))
        return {link["ifname"] for link in shown}


LOGGING = ("-vfile:off", "-vacl_log:file:info", "-vacl_log:console:off")
"""As in `images/scripts/start-ovs.sh`."""
MAIN = "from kube_ovn.daemon.main import main; main()"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A registered node with a running daemon, in a cluster with the default subnet."""
    made = Node(tmp_path_factory.mktemp("n"))
    try:
        made.start()
        made.register()
        made.define("Subnet")
        made.define("IP")
        made.create_subnet("ovn-default", "10.16.0.0/16", natOutgoing=True)
        made.start_daemon()
        yield made
    finally:
        made.stop()
