"""The rows of policies against a second reading of the API, on random clusters, policies and packets."""

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, TypeVar

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kube_ovn.model import names
from kube_ovn.model.admin_policy import AdminNetworkPolicy, BaselineAdminNetworkPolicy, ClusterNetworkPolicy
from kube_ovn.model.crd import LabelSelector, SelectorRequirement
from kube_ovn.model.kube import Container, ContainerPort, Namespace, Node, Object, Pod, PodSpec
from kube_ovn.model.nb import Acl
from kube_ovn.model.policy import (
    EgressRule,
    IngressRule,
    IPBlock,
    NetworkPolicy,
    NetworkPolicySpec,
    PolicyPeer,
    PolicyPort,
)
from kube_ovn.topology.graph import Topology
from tests.oracle.acls import Database
from tests.oracle.acls import Packet as AclPacket
from tests.oracle.network_policy import Cluster, End, Packet, allows
from tests.small_clusters import Api, fabric, namespace, node, pod, settle

T = TypeVar("T")
EXAMPLES = int(os.environ.get("POLICY_EXAMPLES", "150"))
"""Each asks some hundred questions."""
NODES = ("node1", "node2")
SPACES = {"a": {"team": "x"}, "b": {"team": "y", "env": "p"}, "c": {}}
KEYS, VALUES = ("app", "tier"), ("1", "2")
PORTS = (1, 53, 79, 80, 81, 8080)
NAMED = ("http", "dns")
BLOCKS = ("0.0.0.0/0", "10.16.0.0/30", "10.16.0.4/30", "192.0.2.0/24", "192.0.2.77/24", "::/0", "fd00:10:16::/125")
HOLES = ("10.16.0.2/32", "192.0.2.128/25", "192.0.2.0/24", "fd00:10:16::2/128", "10.0.0.0/8")
OUTSIDE = ("192.0.2.1", "192.0.2.200", "2001:db8::1")

labels = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), max_size=2)
values = st.lists(st.sampled_from(VALUES), min_size=1, max_size=2).map(tuple)
keys = st.sampled_from((*KEYS, "team", "env", "kubernetes.io/metadata.name"))
requirements = st.one_of(
    st.builds(SelectorRequirement, key=keys, operator=st.sampled_from(("In", "NotIn")), values=values),
    st.builds(SelectorRequirement, key=keys, operator=st.sampled_from(("Exists", "DoesNotExist"))),
)
selectors = st.builds(
    LabelSelector,
    match_labels=st.dictionaries(st.sampled_from((*KEYS, "team")), st.sampled_from((*VALUES, "x")), max_size=1),
    match_expressions=st.lists(requirements, max_size=2).map(tuple),
)
blocks = st.builds(
    IPBlock, cidr=st.sampled_from(BLOCKS), excepted=st.lists(st.sampled_from(HOLES), max_size=2).map(tuple)
)
peers = st.one_of(
    st.builds(PolicyPeer, pod_selector=selectors),
    st.builds(PolicyPeer, namespace_selector=selectors),
    st.builds(PolicyPeer, pod_selector=selectors, namespace_selector=selectors),
    st.builds(PolicyPeer, ip_block=blocks),
)
protocols = st.sampled_from(("TCP", "UDP", "SCTP"))
ports = st.one_of(
    st.builds(PolicyPort, protocol=protocols, port=st.sampled_from(PORTS)),
    st.builds(PolicyPort, protocol=protocols),
    st.builds(PolicyPort, protocol=protocols, port=st.sampled_from((1, 80)), end_port=st.sampled_from((80, 81, 9000))),
    st.builds(PolicyPort, protocol=protocols, port=st.sampled_from(NAMED)),
)
few_peers, few_ports = st.lists(peers, max_size=2).map(tuple), st.lists(ports, max_size=3).map(tuple)
specs = st.builds(
    NetworkPolicySpec,
    pod_selector=selectors,
    policy_types=st.sampled_from(((), ("Ingress",), ("Egress",), ("Ingress", "Egress"))),
    ingress=st.lists(st.builds(IngressRule, peers=few_peers, ports=few_ports), max_size=2).map(tuple),
    egress=st.lists(st.builds(EgressRule, peers=few_peers, ports=few_ports), max_size=2).map(tuple),
)
containers = st.lists(
    st.builds(ContainerPort, name=st.sampled_from(NAMED), protocol=protocols, container_port=st.sampled_from(PORTS)),
    max_size=2,
).map(lambda listed: (Container(ports=tuple(listed)),))


@st.composite
def pods(draw: st.DrawFn) -> list[Pod]:
    found = []
    for number in range(draw(st.integers(4, 6))):
        plain = pod(f"p{number}", draw(st.sampled_from(NODES)), namespace=draw(st.sampled_from(sorted(SPACES))))
        meta = msgspec.structs.replace(plain.metadata, labels=draw(labels))
        spec = PodSpec(
            node_name=plain.spec.node_name,
            host_network=draw(st.sampled_from((False,) * 4 + (True,))),
            containers=draw(containers),
        )
        found.append(msgspec.structs.replace(plain, metadata=meta, spec=spec))
    return found


@st.composite
def policies(draw: st.DrawFn) -> list[NetworkPolicy]:
    found = []
    for number in range(draw(st.integers(2, 5))):
        meta = pod(f"policy{number}", namespace=draw(st.sampled_from(sorted(SPACES)))).metadata
        found.append(NetworkPolicy(metadata=meta, spec=draw(specs)))
    return found


def spaces() -> list[Namespace]:
    return [namespace(name, {**found, "kubernetes.io/metadata.name": name}) for name, found in SPACES.items()]


def plain_nodes() -> list[Node]:
    return [node(name, at) for at, name in enumerate(NODES)]


class Judge:
    """A settled cluster, and both readings of a packet."""

    def __init__(
        self, objects: Sequence[Object], *, is_private: bool = False, nodes: Sequence[Node] | None = None
    ) -> None:
        """`nodes`: instead of those without labels."""
        self.topology = Topology(
            fabric("10.16.0.0/16,fd00:10:16::/112", "100.64.0.0/16,fd00:100:64::/112", private=is_private)
        )
        self.api = Api(*spaces(), *(plain_nodes() if nodes is None else nodes), *objects)
        settle(self.topology, self.api)
        self.look()

    def look(self) -> None:
        """See the cluster as it is now."""
        self.pods, self.nodes = self._of(Pod), self._of(Node)
        self.cluster = Cluster(
            namespaces=self._of(Namespace),
            policies=self._of(NetworkPolicy),
            nodes=self.nodes,
            wide=[
                *self._of(AdminNetworkPolicy),
                *self._of(BaselineAdminNetworkPolicy),
                *self._of(ClusterNetworkPolicy),
            ],
        )
        self.database = Database(self.topology.state)
        self.ends = [end for version in (4, 6) for end in self._ends(version)]

    def _of(self, kind: type[T]) -> list[T]:
        return [each for each in self.api.objects.values() if isinstance(each, kind)]

    def _ends(self, version: int) -> list[End]:
        grants: Mapping[str, Any] = self.topology.grants
        at: dict[str, Any] = {}
        for owner, grant in grants.items():
            at[owner] = next(str(each) for each in grant.addresses if each.version == version)
        own = [End(address=at[each.metadata.uid], pods=(each,)) for each in self.pods if each.metadata.uid in at]
        hosts = [
            End(
                address=address,
                node=(name := each.metadata.name),
                pods=tuple(pod for pod in self.pods if pod.spec.host_network and pod.spec.node_name == name),
            )
            for each in self.nodes
            for address in (at[each.metadata.uid], *(own.address for own in each.status.addresses))
            if (":" in address) == (version == 6)
        ]
        outside = [End(address=each) for each in OUTSIDE if (":" in each) == (version == 6)]
        return [*own, *hosts, *outside]

    def judge(self, packet: Packet) -> tuple[bool, dict[str, list[Acl]]]:
        """Whether the rows let a packet pass at each of its ends, and what they log there."""
        passes, logs = True, dict[str, list[Acl]]()
        for end, direction in ((packet.source, "from-lport"), (packet.target, "to-lport")):
            inside = next((each for each in end.pods if not each.spec.host_network), None)
            if inside is None:
                continue
            asked = AclPacket(
                source=packet.source.address,
                target=packet.target.address,
                protocol=packet.protocol,
                port=packet.port,
                resident=frozenset({names.node_port(inside.spec.node_name)}),
            )
            at = names.pod_port(inside.metadata.name, inside.metadata.namespace)
            verdict, logs[direction] = self.database.judge(at, direction, asked)
            passes = passes and verdict == "allow"
        return passes, logs

    def packets(self) -> Iterator[Packet]:
        for source, target in product(self.ends, self.ends):
            if source is target or (":" in source.address) != (":" in target.address):
                continue
            for protocol, port in (("ICMP", 0), *product(("TCP", "UDP"), PORTS), ("SCTP", 80)):
                yield Packet(source=source, target=target, protocol=protocol, port=port)


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(pods(), policies())
def test_rows_say_what_the_api_says(some: list[Pod], rules: list[NetworkPolicy]) -> None:
    judge = Judge([*some, *rules])
    for packet in judge.packets():
        expected, (found, logs) = allows(judge.cluster, packet), judge.judge(packet)
        assert found == expected, f"{packet}: the rows say {found}"
        assert not any(logs.values()), "no policy asks for it"
