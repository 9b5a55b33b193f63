"""The figures of NetworkPolicies without a node: what they cost the decisions, and how soon the Northbound database has
them.
"""

import time
from collections.abc import Callable
from typing import Any

import msgspec

from bench.decide import Decisions, recorded
from bench.figure import Anchor, Ask, Figure, median
from bench.monitor import NORTHBOUND, Monitor, monitoring
from bench.pods import create, each, ensure_namespace, pod_body, watching
from bench.world import NODE, World
from kube_ovn.k8s.client import Client
from kube_ovn.k8s.credentials import load_credentials
from kube_ovn.model.crd import LabelSelector
from kube_ovn.model.kube import Namespace, Object, Pod
from kube_ovn.model.policy import IngressRule, NetworkPolicy, NetworkPolicySpec, PolicyPeer
from kube_ovn.model.resource import NETWORK_POLICIES, NODES
from sandbox.progress import say
from tests.small_clusters import Api, gateway, namespace, pod, policy

PODS, POLICIES, NAMESPACES, NODE_COUNT, APPS = 10_000, 1_000, 100, 100, 10
FEW_PODS, FEW_POLICIES, FEW_NAMESPACES, RUNS = 1_000, 200, 20, 5
EXCEPT = tuple(f"10.{number}.0.0/16" for number in range(1, 11))
ROUNDS = 9
DEADLINE = 120.0


async def measure_policies() -> list[Figure]:
    figures = [*_decisions(), _rows()]
    with World() as world:
        async with Client(load_credentials(str(world.kube.kubeconfig))) as client:
            return figures + await _programming(world, client)


def spec(number: int, *, excepts: tuple[str, ...] = EXCEPT[:1]) -> dict[str, Any]:
    """A policy of a middling size: it restricts the Pods of one app both ways."""
    app = {"matchLabels": {"app": f"a{number % APPS}"}}
    near = {"podSelector": {"matchLabels": {"app": f"a{(number + 1) % APPS}"}}}
    team = {"namespaceSelector": {"matchLabels": {"team": f"t{number % 10}"}}}
    outside = {"ipBlock": {"cidr": "10.0.0.0/8", "except": list(excepts)}}
    ports = [{"port": 80, "protocol": "TCP"}]
    types = ["Ingress", "Egress"]
    return {
        "podSelector": app,
        "policyTypes": types,
        "ingress": [{"from": [near, team], "ports": ports}],
        "egress": [{"to": [outside]}],
    }


def _decisions() -> list[Figure]:
    """What single changes cost among many Pods and policies; their anchor is working everything out anew."""
    world = Decisions(_objects())
    anchor = Anchor(name="cold start, ms", value=world.start() * 1000)
    figures = []
    for name, change, ask in _changes(world):
        spent = [world.spend(change, number) for number in range(ROUNDS)]
        say(f"{name}: {[round(one * 1000, 3) for one in spent]} ms")
        full = f"CPU of {name} among {PODS} Pods and {POLICIES} policies"
        value = median(spent) * 1000
        figures.append(Figure(name=full, value=value, unit="ms", n=ROUNDS, anchor=anchor, ask=ask))
    return figures


def _changes(world: Decisions) -> list[tuple[str, Callable[[int], None], Ask | None]]:
    pods = [item for item in world.objects.values() if isinstance(item, Pod)]
    spaces = [item for item in world.objects.values() if isinstance(item, Namespace)]
    policies = [item for item in world.objects.values() if isinstance(item, NetworkPolicy)]
    replace = msgspec.structs.replace

    def relabel(item: Any, **labels: str) -> None:
        world.put(replace(item, metadata=replace(item.metadata, labels={**item.metadata.labels, **labels})))

    def rewrite(item: NetworkPolicy) -> None:
        changed = replace(item.spec, pod_selector=LabelSelector(match_labels={"app": "a9"}))
        world.put(replace(item, spec=changed))

    return [
        ("a Pod's label", lambda n: relabel(pods[37 * n], app=f"a{(n + 5) % APPS}"), Ask(relation="<", value=2)),
        ("a label of a Namespace with 100 Pods", lambda n: relabel(spaces[n], team="t9"), Ask(relation="<", value=5)),
        ("a policy's selector", lambda n: rewrite(policies[n]), None),
    ]


def _objects() -> dict[str, Object]:
    spaces = [namespace(f"n{number}", {"team": f"t{number % 10}"}) for number in range(NAMESPACES)]
    api = Api(*spaces, *(gateway(f"node{number}", number % 200) for number in range(NODE_COUNT)))
    api.put(*(_pod(number) for number in range(PODS)), *(_policy(number) for number in range(POLICIES)))
    return recorded(api)


def _pod(number: int) -> Pod:
    made = pod(f"p{number}", f"node{number % NODE_COUNT}", namespace=f"n{number % NAMESPACES}", uid=f"pod-{number}")
    labels = {"app": f"a{number // NAMESPACES % APPS}"}
    return msgspec.structs.replace(made, metadata=msgspec.structs.replace(made.metadata, labels=labels))


def _policy(number: int) -> NetworkPolicy:
    made = policy(f"np{number}", namespace=f"n{number % NAMESPACES}")
    return msgspec.structs.replace(made, spec=msgspec.convert(spec(number // NAMESPACES), NetworkPolicySpec))


def _rows() -> Figure:
    """The rows of one policy a Namespace that lets its Pods reach one another."""
    objects = {uid: item for uid, item in _objects().items() if not isinstance(item, NetworkPolicy)}
    plain, restricted = Decisions(objects), Decisions(objects)
    for number in range(NAMESPACES):
        rule = IngressRule(peers=(PolicyPeer(pod_selector=LabelSelector()),))
        restricted.put(policy(f"same{number}", namespace=f"n{number}", policy_types=("Ingress",), ingress=(rule,)))
    plain.start()
    restricted.start()
    return Figure(
        name=f"rows and memberships of one allow-same-namespace policy in each of {NAMESPACES} Namespaces, {PODS} Pods",
        value=restricted.rows() - plain.rows(),
        unit="rows",
        n=1,
        anchor=Anchor(name="without policies", value=plain.rows()),
        ask=Ask(relation="<=", value=2 * PODS + PODS + 10 * NAMESPACES),
        note="two memberships a Pod in groups and one in a set; ten rows a Namespace",
    )


class _Programmed:
    """The policies that have ACLs in the Northbound database."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor, self._read = monitor, 0
        self._of: dict[str, str] = {}  # by UUID of an ACL, its policy

    def count(self) -> int:
        for told in self._monitor.told[self._read :]:
            for uuid, change in told.rows.get("ACL", {}).items():
                if "insert" in change:
                    ids = dict(change["insert"].get("external_ids", ["map", []])[1])
                    self._of |= {uuid: ids["policy"]} if "policy" in ids else {}
                elif "delete" in change:
                    self._of.pop(uuid, None)
        self._read = len(self._monitor.told)
        return len(set(self._of.values()))

    async def until(self, count: int) -> float:
        """Wait until so many policies are there; the time of the last transaction."""
        return await self._monitor.until(f"{count} policies are there", lambda: self.count() == count, DEADLINE)


async def _programming(world: World, client: Client) -> list[Figure]:
    """How soon policies are in the Northbound database, over many Pods: made while the controller works, and made
    while it is stopped, from the moment at which it goes on.
    """
    await client.request("POST", NODES.path(), body={"metadata": {"name": NODE}})
    controller = await world.start_controller()
    await controller.until_passed()
    for number in range(FEW_NAMESPACES):
        await ensure_namespace(client, f"n{number}")
    async with watching(client, "") as sights:
        await each(range(FEW_PODS), lambda n: create(client, f"n{n % FEW_NAMESPACES}", _body(n)))
        await sights.until("all are annotated", DEADLINE, lambda: len(sights.annotated) >= FEW_PODS)
    await controller.until_settled(FEW_PODS)
    floor, created, waiting = list[float](), list[float](), list[float]()
    async with monitoring(world.ovn.endpoint("nb"), NORTHBOUND, {"ACL": ["external_ids"]}) as monitor:
        programmed = _Programmed(monitor)
        for _ in range(RUNS):
            started = time.perf_counter()
            await _make(client)
            created.append(await programmed.until(FEW_POLICIES) - started)
            await _remove(client)
            await programmed.until(0)
            controller.pause()
            floor.append(await _make(client))
            started = time.perf_counter()
            controller.resume()
            waiting.append(await programmed.until(FEW_POLICIES) - started)
            await _remove(client)
            await programmed.until(0)
    say(f"created {_text(created)} s, waiting {_text(waiting)} s, the objects alone {_text(floor)} s")
    anchor = Anchor(name="making the objects alone, 32 in flight, s", value=median(floor))
    what = f"{FEW_POLICIES} policies over {FEW_PODS} Pods"
    ask = Ask(relation="<", value=0.5)
    return [
        Figure(
            name=f"{what}, the first one made to all in the Northbound database, beyond making them",
            value=median(created) - median(floor),
            unit="s",
            n=RUNS,
            anchor=anchor,
            ask=ask,
        ),
        Figure(
            name=f"{what} that wait for the controller, to all in the Northbound database",
            value=median(waiting),
            unit="s",
            n=RUNS,
            anchor=anchor,
            ask=ask,
        ),
    ]


def _body(number: int) -> dict[str, Any]:
    made = pod_body(f"p{number}", NODE)
    return {**made, "metadata": {"name": f"p{number}", "labels": {"app": f"a{number // FEW_NAMESPACES % APPS}"}}}


async def _make(client: Client) -> float:
    """Make the policies; the seconds it takes."""
    return await each(range(FEW_POLICIES), lambda n: create_policy(client, f"n{n % FEW_NAMESPACES}", f"np{n}", spec(n)))


async def create_policy(client: Client, where: str, name: str, what: dict[str, Any]) -> None:
    """Make a NetworkPolicy."""
    body = {"metadata": {"name": name}, "spec": what}
    await client.request("POST", NETWORK_POLICIES.path(where), body=body)


async def _remove(client: Client) -> None:
    await each(range(FEW_NAMESPACES), lambda n: client.request("DELETE", NETWORK_POLICIES.path(f"n{n}"), body={}))


def _text(values: list[float]) -> str:
    return " ".join(f"{value:.2f}" for value in values)
