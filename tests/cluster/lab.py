"""The work of cluster tests on the sandbox: Pods of one Namespace, commands inside Pods and nodes.

It acts as a user or an administrator would. Requests to the API server are in kube.py; OVN's Northbound database is
read in northbound.py.
"""

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from sandbox import node
from sandbox.command import attempt, run
from sandbox.demo import SYSTEM, kubectl
from sandbox.layout import parse_node
from sandbox.node_images import TOOLS_IMAGE
from sandbox.paths import SandboxError
from tests.cluster import kube
from tests.cluster.kube import Json, Objects

T = TypeVar("T")

POLL = 0.1
SLEEP = ("sh", "-c", "trap exit TERM; sleep 100000 & wait")
"""Does nothing, and ends on SIGTERM: a shell that only sleeps would make each deletion wait for its grace period."""
HTTP = 8080
SERVER = ("/agnhost", "netexec", f"--http-port={HTTP}", "--udp-port=-1")
"""A web server: /hostname answers with the Pod's name, /clientip with the client's address."""
OUR_WORKLOADS = {"deployment": ("ovn-central", "kube-ovn-controller"), "daemonset": ("ovs-ovn", "kube-ovn-cni")}


def until(condition: Callable[[], T | None], deadline: float, what: str) -> T:
    """Call the condition until it is true, and return its value. A part of the cluster that does not answer is asked
    again. A condition on the API server's objects alone is awaited with `kube.when`, which needs no polling.
    """
    end = time.monotonic() + deadline
    last: object = None
    while True:
        try:
            answer = condition()
            if answer:
                return answer
            last = answer
        except SandboxError as error:
            last = error
        assert time.monotonic() < end, f"{what}: not within {deadline:g} s; the last answer was {last!r}"
        time.sleep(POLL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A Pod as the API server shows it."""

    name: str
    namespace: str
    uid: str
    node: str
    ip: str
    phase: str
    ready: bool
    annotations: Mapping[str, str]

    @property
    def port(self) -> str:
        """Its logical port."""
        return f"{self.name}.{self.namespace}"


def read_pod(item: Json) -> Pod:
    meta, status = item["metadata"], item.get("status", {})
    conditions = {each["type"]: each["status"] for each in status.get("conditions", [])}
    return Pod(
        name=meta["name"],
        namespace=meta["namespace"],
        uid=meta["uid"],
        node=item["spec"].get("nodeName", ""),
        ip=status.get("podIP", ""),
        phase=status.get("phase", ""),
        ready=conditions.get("Ready") == "True",
        annotations=meta.get("annotations", {}),
    )


def manifest(
    name: str,
    node_name: str | None = None,
    *,
    command: Sequence[str] = SLEEP,
    annotations: Mapping[str, str] | None = None,
    **container: object,
) -> Json:
    """A Pod of the tools image, on a node of our choice or of the scheduler's."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": dict(annotations or {})},
        "spec": {
            **({"nodeName": node_name} if node_name else {}),
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            # A test that stops a node's parts does not test evictions.
            "tolerations": [{"operator": "Exists"}],
            "containers": [
                {
                    "name": "main",
                    "image": TOOLS_IMAGE,
                    "imagePullPolicy": "Never",
                    "command": list(command),
                    **container,
                }
            ],
        },
    }


def node_exec(name: str, *command: str, timeout: float = 20) -> str:
    """What a command inside a node prints; raises SandboxError when it fails."""
    return run(node.enter_arguments(parse_node(name), command), timeout=timeout)


def node_try(name: str, *command: str, timeout: float = 20) -> bool:
    """Whether a command inside a node succeeds."""
    return attempt(node.enter_arguments(parse_node(name), command), timeout=timeout)[0] == 0


INIT_PID = "/run/containerd/io.containerd.runtime.v2.task/k8s.io/{}/init.pid"
"""Where containerd keeps the number of a container's first process, as its node counts."""
ENTER = 'exec nsenter --target="$(cat "$0")" --mount --uts --ipc --net --pid -- "$@"'


def execute(pod: str, namespace: str, *command: str, timeout: float = 30) -> str:
    """What a command in a Pod prints; raises SandboxError when it fails. Entered from the node, because `kubectl exec`
    takes twenty times as much of the machine.
    """
    item = kube.read("pod", pod, namespace)
    running = [each for each in item["status"].get("containerStatuses", []) if "running" in each["state"]]
    if not running:
        raise SandboxError(f"no container of {namespace}/{pod} runs")
    file = INIT_PID.format(running[0]["containerID"].rpartition("/")[2])
    return node_exec(item["spec"]["nodeName"], "sh", "-c", ENTER, file, *command, timeout=timeout)


def system_pod(app: str, on: str | None = None) -> Pod:
    """The one living Pod of a workload of ours, on a node if it runs on each."""
    found = _living(kube.get("pod", SYSTEM, labels=f"app={app}"), on)
    if len(found) != 1:
        raise SandboxError(f"{len(found)} Pods of {app} on {on or 'all nodes'}; one is expected")
    return found[0]


def _living(items: Iterable[Json], on: str | None) -> list[Pod]:
    pods = [read_pod(item) for item in items if "deletionTimestamp" not in item["metadata"]]
    return [pod for pod in pods if on in (None, pod.node)]


def replace_system_pod(app: str, on: str | None = None, *, force: bool = False, ready_within: float = 60) -> Pod:
    """Delete a Pod of ours, with no time to say goodbye if `force`, and wait until its successor is Ready."""
    old = system_pod(app, on)
    kube.delete("pod", old.name, namespace=SYSTEM, grace=0 if force else None)

    def successor(seen: Objects) -> Pod | None:
        pods = _living(seen.values(), on)
        return next((pod for pod in pods if len(pods) == 1 and pod.uid != old.uid and pod.ready), None)

    return kube.when(successor, ready_within, f"successor of {old.name}", "pod", SYSTEM, labels=f"app={app}")


@contextmanager
def scaled_down(deployment: str) -> Iterator[None]:
    """Scale a Deployment of ours down to no Pod in a `with` block."""
    kube.patch("deployment", deployment, {"spec": {"replicas": 0}}, SYSTEM)
    try:
        kube.when(lambda seen: not seen, 60, f"{deployment} is away", "pod", SYSTEM, labels=f"app={deployment}")
        yield
    finally:
        kube.patch("deployment", deployment, {"spec": {"replicas": 1}}, SYSTEM)


def wait_until_healthy(deadline: float = 90) -> None:
    """Wait until every workload of ours has all its Pods Ready."""
    for kind, names in OUR_WORKLOADS.items():

        def whole(seen: Objects, names: tuple[str, ...] = names) -> bool:
            return all(name in seen and _is_whole(seen[name]) for name in names)

        kube.when(whole, deadline, f"{', '.join(names)} have all their Pods Ready", kind, SYSTEM)


def _is_whole(workload: Json) -> bool:
    """As `kubectl rollout status` sees it."""
    status = workload.get("status", {})
    if status.get("observedGeneration", 0) < workload["metadata"]["generation"]:
        return False
    if "desiredNumberScheduled" in status:
        wanted = status["desiredNumberScheduled"]
        return bool(status.get("updatedNumberScheduled", 0) == status.get("numberAvailable", 0) == wanted)
    wanted = workload["spec"]["replicas"]
    counted = (status.get(each, 0) for each in ("replicas", "updatedReplicas", "availableReplicas"))
    return all(count == wanted for count in counted)


def ovs(node_name: str, *words: str) -> str:
    """Ask the Open vSwitch of a node."""
    return execute(system_pod("ovs", node_name).name, SYSTEM, "ovs-vsctl", "--timeout=10", *words)


def interfaces_of(node_name: str, namespace: str) -> dict[str, str]:
    """Interfaces in a node's Open vSwitch for Pods of a Namespace: name by logical port."""
    words = ("--format=json", "--columns=name,external_ids", "find", "Interface")
    table = json.loads(ovs(node_name, *words, f"external_ids:pod_namespace={namespace}"))
    return {dict(ids[1])["iface-id"]: name for name, ids in table["data"]}


class Pods(Mapping[str, Pod]):
    """Pods by name, each read when it is looked at."""

    def __init__(self, items: Objects) -> None:
        self._items = items

    def __getitem__(self, name: str) -> Pod:
        return read_pod(self._items[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


class Scene:
    """One Namespace and the Pods in it."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def open(self) -> None:
        kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}})
        # Pods of a Namespace without its ServiceAccount are refused.
        kube.when(lambda seen: "default" in seen, 20, "the ServiceAccount", "serviceaccount", self.namespace)

    def close(self) -> None:
        kube.delete("namespace", self.namespace)

    def kubectl(self, *words: str, text: str | None = None, timeout: float = 60) -> str:
        return kubectl("-n", self.namespace, *words, text=text, timeout=timeout)

    def create(self, *objects: Json) -> None:
        kube.create(*objects, namespace=self.namespace)

    def start(self, *pods: Json, within: float = 60) -> list[Pod]:
        """Create Pods and wait until they are Ready; they come back in the same order."""
        self.create(*pods)
        return self.ready(*(pod["metadata"]["name"] for pod in pods), within=within)

    def ready(self, *names: str, within: float = 60) -> list[Pod]:
        def all_ready(pods: Mapping[str, Pod]) -> list[Pod] | None:
            return [pods[name] for name in names] if all(name in pods and pods[name].ready for name in names) else None

        try:
            return self.when(all_ready, within, f"{', '.join(names)} Ready")
        except AssertionError as error:
            error.add_note(self.kubectl("get", "events", "--sort-by=.lastTimestamp"))
            raise

    def pods(self) -> dict[str, Pod]:
        return {pod.name: pod for pod in map(read_pod, kube.get("pod", self.namespace))}

    def when(self, condition: Callable[[Mapping[str, Pod]], T | None], deadline: float, what: str) -> T:
        """Wait until a condition is true of the Pods."""
        return kube.when(lambda seen: condition(Pods(seen)), deadline, what, "pod", self.namespace)

    def annotate(self, kind: str, name: str, annotations: Mapping[str, str | None]) -> None:
        """Set annotations, and take away those that are None."""
        kube.patch(kind, name, {"metadata": {"annotations": dict(annotations)}}, self.namespace)

    def delete(self, *names: str, grace: int | None = None) -> None:
        """Delete Pods, and wait until they are gone."""
        kube.remove("pod", *names, namespace=self.namespace, grace=grace)

    def events(self, pod: str) -> list[tuple[str, str, str]]:
        """Type, reason and message of the Events on a Pod."""
        items = kube.get("event", self.namespace, fields=f"involvedObject.name={pod}")
        return [(item["type"], item["reason"], item["message"]) for item in items]

    def shell(self, pod: Pod | str, script: str, timeout: float = 30) -> str:
        """What a script inside a Pod prints; raises SandboxError when it fails."""
        name = pod if isinstance(pod, str) else pod.name
        return execute(name, self.namespace, "sh", "-c", script, timeout=timeout)

    def reaches(self, source: Pod | str, address: str) -> bool:
        """Whether one ping of a few is answered."""
        return " 0 received" not in self.shell(source, f"ping -c 5 -i 0.2 -W 1 {address} || true")

    def every_ping_answered(self, source: Pod | str, address: str, count: int = 5) -> bool:
        return f"{count} received" in self.shell(source, f"ping -c {count} -i 0.05 -W 2 {address} || true")

    def talk_again(self, source: Pod, target: Pod, *, within: float = 30) -> None:
        """Wait until every ping of a row is answered, both ways."""
        until(lambda: self._both_ways(source, target), within, f"{source.name} on {source.node} and {target.name} talk")

    def _both_ways(self, source: Pod, target: Pod) -> bool:
        return self.every_ping_answered(source, target.ip) and self.every_ping_answered(target, source.ip)


def torn(lost: Sequence[int]) -> list[int]:
    """The numbers of lost packets that follow another lost one.

    A single packet may be lost between nodes, whatever is tested: without a kernel datapath vswitchd loses one of a
    tunnel when it looks at the node's links anew, and the Pods of the test before this one are just going (measured:
    25 of 80 links that came or went cost one packet of a stream of 500/s; within a node none did).
    """
    return [number for number in lost if number - 1 in lost]


class Pinging:
    """Ten pings a second from a Pod, all the time between start and stop."""

    RATE = 10

    def __init__(self, scene: Scene, source: Pod, target: str) -> None:
        self._scene, self._source, self._target = scene, source, target
        self._log = f"/tmp/ping-{target}"

    def start(self) -> None:
        self._scene.shell(self._source, f"ping -i 0.1 {self._target} </dev/null >{self._log} 2>&1 &")

    def stop(self) -> tuple[int, list[int]]:
        """The number of pings that were sent, and the sequence numbers of those without an answer. The last second does
        not count: on a busy machine its pings may have been on their way when ping was told to stop.
        """
        self._scene.shell(self._source, f"pkill -INT -f 'ping -i 0.1 {self._target}$'")

        def summary() -> str | None:
            text = self._scene.shell(self._source, f"cat {self._log}")
            return text if "packets transmitted" in text else None

        text = until(summary, 10, "ping's summary")
        found = re.search(r"(\d+) packets transmitted", text)
        assert found is not None
        sent, answered = int(found[1]), {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl=", text)}
        return sent, sorted(set(range(1, sent - self.RATE)) - answered)
