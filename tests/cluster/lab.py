"""What the cluster tests do to the sandbox and see of it: kubectl, Pods of one Namespace, commands inside nodes.

It acts as a user or an administrator would. What OVN's Northbound database holds is read in northbound.py.
"""

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sandbox import node
from sandbox.command import attempt, run
from sandbox.demo import SYSTEM, kubectl
from sandbox.images import TOOLS_IMAGE
from sandbox.layout import parse_node
from sandbox.paths import SandboxError

Json = dict[str, Any]
T = TypeVar("T")

POLL = 0.2
SLEEP = ("sh", "-c", "trap exit TERM; sleep 100000 & wait")
"""Does nothing, and ends when told to: a shell that only sleeps would make each deletion wait for its grace period."""
HTTP = 8080
SERVER = ("/agnhost", "netexec", f"--http-port={HTTP}", "--udp-port=-1")
"""A web server: /hostname answers with the Pod's name, /clientip with whom it sees."""
OUR_WORKLOADS = (
    "deployment/ovn-central",
    "daemonset/ovs-ovn",
    "deployment/kube-ovn-controller",
    "daemonset/kube-ovn-cni",
)


def until(condition: Callable[[], T | None], deadline: float, what: str) -> T:
    """Ask until the answer is true, and return it. A part of the cluster that is away is no answer yet."""
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
            # A test that takes a node's parts away is not about evictions.
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


def get(kind: str, *words: str) -> list[Json]:
    """Objects of a kind."""
    items: list[Json] = json.loads(kubectl("get", kind, "-o", "json", *words))["items"]
    return items


def node_exec(name: str, *command: str, timeout: float = 20) -> str:
    """What a command inside a node prints; raises SandboxError when it fails."""
    return run(node.enter_arguments(parse_node(name), command), timeout=timeout)


def node_try(name: str, *command: str, timeout: float = 20) -> bool:
    """Whether a command inside a node succeeds."""
    return attempt(node.enter_arguments(parse_node(name), command), timeout=timeout)[0] == 0


def system_pod(app: str, on: str | None = None) -> Pod:
    """The one living Pod of a workload of ours, on a node if it runs on each."""
    found = [read_pod(item) for item in get("pods", "-n", SYSTEM, "-l", f"app={app}") if not _ending(item)]
    chosen = [pod for pod in found if on in (None, pod.node)]
    if len(chosen) != 1:
        raise SandboxError(f"{len(chosen)} Pods of {app} on {on or 'all nodes'}; one is expected")
    return chosen[0]


def _ending(item: Json) -> bool:
    return "deletionTimestamp" in item["metadata"]


def replace_system_pod(app: str, on: str | None = None, *, force: bool = False, ready_within: float = 60) -> Pod:
    """Delete a Pod of ours, with no time to say goodbye if `force`, and wait until its successor is Ready."""
    old = system_pod(app, on)
    words = ("--grace-period=0", "--force") if force else ()
    kubectl("delete", "pod", "-n", SYSTEM, old.name, *words, timeout=60)

    def successor() -> Pod | None:
        pod = system_pod(app, on or old.node if on else None)
        return pod if pod.uid != old.uid and pod.ready else None

    return until(successor, ready_within, f"successor of {old.name}")


def wait_until_healthy(deadline: float = 90) -> None:
    """Every workload of ours has all its Pods Ready."""
    for workload in OUR_WORKLOADS:
        kubectl("rollout", "status", "-n", SYSTEM, workload, f"--timeout={deadline:g}s", timeout=deadline + 5)


def ovs(node_name: str, *words: str) -> str:
    """Ask the Open vSwitch of a node."""
    pod = system_pod("ovs", node_name)
    return kubectl("exec", "-n", SYSTEM, pod.name, "--", "ovs-vsctl", "--timeout=10", *words)


def interfaces_of(node_name: str, namespace: str) -> dict[str, str]:
    """Interfaces in a node's Open vSwitch for Pods of a Namespace: name by logical port."""
    words = ("--format=json", "--columns=name,external_ids", "find", "Interface")
    table = json.loads(ovs(node_name, *words, f"external_ids:pod_namespace={namespace}"))
    return {dict(ids[1])["iface-id"]: name for name, ids in table["data"]}


class Scene:
    """One Namespace and the Pods in it."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def open(self) -> None:
        kubectl("create", "namespace", self.namespace)
        # Pods of a Namespace without its ServiceAccount are refused.
        self.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=20s")

    def close(self) -> None:
        kubectl("delete", "namespace", self.namespace, "--wait=false")

    def kubectl(self, *words: str, text: str | None = None, timeout: float = 60) -> str:
        return kubectl("-n", self.namespace, *words, text=text, timeout=timeout)

    def create(self, *pods: Json) -> None:
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(pods)})
        self.kubectl("create", "-f", "-", text=text)

    def start(self, *pods: Json, within: float = 60) -> list[Pod]:
        """Create Pods and wait until they are Ready; they come back in the same order."""
        self.create(*pods)
        return self.ready(*(pod["metadata"]["name"] for pod in pods), within=within)

    def ready(self, *names: str, within: float = 60) -> list[Pod]:
        def all_ready() -> list[Pod] | None:
            pods = self.pods()
            return [pods[name] for name in names] if all(name in pods and pods[name].ready for name in names) else None

        try:
            return until(all_ready, within, f"{', '.join(names)} Ready")
        except AssertionError as error:
            error.add_note(self.kubectl("get", "events", "--sort-by=.lastTimestamp"))
            raise

    def pods(self) -> dict[str, Pod]:
        return {pod.name: pod for pod in map(read_pod, get("pods", "-n", self.namespace))}

    def delete(self, *names: str) -> None:
        self.kubectl("delete", "pod", *names)

    def events(self, pod: str) -> list[tuple[str, str, str]]:
        """Type, reason and message of the Events on a Pod."""
        items = get("events", "-n", self.namespace, f"--field-selector=involvedObject.name={pod}")
        return [(item["type"], item["reason"], item["message"]) for item in items]

    def shell(self, pod: Pod | str, script: str, timeout: float = 30) -> str:
        """What a script inside a Pod prints; raises SandboxError when it fails."""
        name = pod if isinstance(pod, str) else pod.name
        return self.kubectl("exec", name, "--", "sh", "-c", script, timeout=timeout)

    def reaches(self, source: Pod | str, address: str) -> bool:
        """Whether one ping of a few is answered."""
        return " 0 received" not in self.shell(source, f"ping -c 5 -i 0.2 -W 1 {address} || true")

    def every_ping_answered(self, source: Pod | str, address: str, count: int = 5) -> bool:
        return f"{count} received" in self.shell(source, f"ping -c {count} -i 0.05 -W 2 {address} || true")

    def talk_again(self, source: Pod, target: Pod, *, within: float = 30) -> None:
        """Both ways, until every ping of a row is answered."""
        until(lambda: self._both_ways(source, target), within, f"{source.name} on {source.node} and {target.name} talk")

    def _both_ways(self, source: Pod, target: Pod) -> bool:
        return self.every_ping_answered(source, target.ip) and self.every_ping_answered(target, source.ip)


def torn(lost: Sequence[int]) -> list[int]:
    """Of the numbers of lost packets those that follow another one.

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
        """How many were sent and the numbers of those that were not answered. Those of the last second do not
        count: on a busy machine they may have been on their way when ping was told to stop.
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
