"""The ends of packets, made of the Kubernetes objects around a question. Pure.

`Known` need not be the whole cluster: a question on two Pods is answered from these Pods, their Namespaces, the
NetworkPolicies in them, and the Subnets; nodes matter where an end is a node's address.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from kube_ovn.discovery.attached import internal_addresses
from kube_ovn.model import crd, names
from kube_ovn.model.addr import Address, parse_addresses
from kube_ovn.model.kube import Namespace, Node, Pod
from kube_ovn.model.policy import NetworkPolicy
from kube_ovn.topology.inputs import Name
from kube_ovn.topology.policy.compile import compile_policy
from kube_ovn.topology.policy.rules import Selection
from kube_ovn.topology.policy.selections import Traits, traits_of
from kube_ovn.topology.policy.selector import anchors
from kube_ovn.topology.policy.verdict import Around, Candidate, End, Policy, RawAcl, is_in
from kube_ovn.topology.security.membership import parse_named
from kube_ovn.topology.subnets.parsing import parse_rule
from kube_ovn.topology.subnets.switch import parse_allowed
from kube_ovn.topology.subnets.verdict import in_effect


@dataclass(frozen=True, kw_only=True)
class Known:
    """The objects that ends are made of."""

    pods: Sequence[Pod] = ()
    namespaces: Sequence[Namespace] = ()
    nodes: Sequence[Node] = ()
    subnets: Sequence[crd.Subnet] = ()
    policies: Sequence[Policy] = ()

    def candidate(self, pod: Pod) -> Candidate | None:
        """A Pod as selections see it; None where no selection is about it."""
        traits = traits_of(pod)
        return None if traits is None else self._candidate(Name(pod.metadata.namespace, pod.metadata.name), traits)

    def _candidate(self, name: Name, traits: Traits) -> Candidate:
        return Candidate(name=name, traits=traits, namespace_labels=self._labels.get(traits.namespace))

    def end_of(self, pod: Pod, address: Address) -> End:
        """The end of packets of a Pod with a port of its own."""
        found, named = self.candidate(pod), parse_named(pod)
        return End(
            address=address,
            pods=() if found is None else (found,),
            node=pod.spec.node_name,
            subnet=self.subnet_at(address),
            policies=() if found is None else self.catalog.policies(self.catalog.chosen(found)),
            groups=() if named is None else named.groups,
        )

    def end_at(self, address: Address) -> End:
        """The end with an address, whatever has it: a Pod, a node, or what is not of the cluster."""
        node = self._nodes.get(address)
        if node is not None:
            return self.end_of_node(node, address)
        pod = self._pods.get(address)
        return End(address=address, subnet=self.subnet_at(address)) if pod is None else self.end_of(pod, address)

    def end_of_node(self, node: Node, address: Address) -> End:
        """The end of packets of a node and of the Pods in its network."""
        name = node.metadata.name
        return End(
            address=address,
            pods=tuple(found for each in self.hosted.get(name, ()) if (found := self.candidate(each)) is not None),
            node=name,
            is_node=True,
            stand_in=self.stand_in if address in joined_addresses(node) else None,
            subnet=self.subnet_at(address),
        )

    def subnet_at(self, address: Address) -> Around | None:
        """The Subnet that holds an address, as far as it judges packets."""
        for each in self.around:
            if any(address in cidr for cidr in each.cidrs):
                return each
        return None

    @cached_property
    def _labels(self) -> Mapping[str, Mapping[str, str]]:
        return {each.metadata.name: each.metadata.labels for each in self.namespaces}

    @cached_property
    def stand_in(self) -> Candidate:
        """The Pod that a selection of the cluster's DNS server selects."""
        namespace, key, value = names.CLUSTER_DNS
        return self._candidate(Name(namespace, value), Traits(namespace, {key: value}, {}, ""))

    @cached_property
    def catalog(self) -> "Catalog":
        return Catalog(self.policies)

    @cached_property
    def _nodes(self) -> Mapping[Address, Node]:
        return {address: node for node in self.nodes for address in own_addresses(node)}

    @cached_property
    def _pods(self) -> Mapping[Address, Pod]:
        return {address: pod for pod in self.pods if traits_of(pod) and has_port(pod) for address in pod_addresses(pod)}

    @cached_property
    def hosted(self) -> Mapping[str, list[Pod]]:
        found: dict[str, list[Pod]] = {}
        for pod in self.pods:
            if not has_port(pod):
                found.setdefault(pod.spec.node_name, []).append(pod)
        return found

    @cached_property
    def around(self) -> Sequence[Around]:
        return [found for each in self.subnets if (found := judging_part(each)) is not None]


class Catalog:
    """Selections that policies speak of, filed as in `selections`, so that a Pod looks only at those that have a label
    in common with it. Policies that are only tried restrict no Pod.
    """

    def __init__(self, policies: Iterable[Policy]) -> None:
        self._subjects: dict[Selection, list[Policy]] = {}
        for each in policies:
            if not each.compiled.mode.audit:
                self._subjects.setdefault(each.compiled.subject, []).append(each)
        self._filed: dict[tuple[str, str, str], dict[Selection, None]] = {}
        self.add(self._subjects)

    def add(self, selections: Iterable[Selection]) -> None:
        """File more selections."""
        for each in selections:
            for label in anchors(each.pods) or [("", "")]:
                self._filed.setdefault((each.namespace, *label), {})[each] = None

    def chosen(self, pod: Candidate) -> tuple[Selection, ...]:
        """The selections among those filed that a Pod is in."""
        labels = [("", ""), *pod.traits.labels.items()]
        filed = (self._filed.get((scope, *label), ()) for scope in (pod.traits.namespace, "") for label in labels)
        return tuple(dict.fromkeys(each for those in filed for each in those if is_in(pod, each)))

    def policies(self, chosen: Iterable[Selection]) -> tuple[Policy, ...]:
        """The policies that select the Pods in these selections."""
        return tuple(sorted((each for at in chosen for each in self._subjects.get(at, ())), key=lambda each: each.name))


def compile_all(policies: Iterable[NetworkPolicy]) -> tuple[Policy, ...]:
    """NetworkPolicies with their names, in the order of these."""
    named = ((Name(each.metadata.namespace, each.metadata.name), each) for each in policies)
    return tuple(Policy(name, compile_policy(each)) for name, each in sorted(named, key=lambda each: each[0]))


def has_port(pod: Pod) -> bool:
    """Whether a Pod has a port of its own, rather than the network of its node."""
    return not pod.spec.host_network


def pod_addresses(pod: Pod) -> tuple[Address, ...]:
    """The addresses of a Pod with a port of its own, as it was given them; else as its kubelet reports them."""
    reported = ",".join(each.ip for each in pod.status.pod_ips if each.ip)
    return _parse(pod.metadata.annotations.get(names.IP_ADDRESS, "") or reported)


def joined_addresses(node: Node) -> tuple[Address, ...]:
    """The addresses of a node in the join subnet, from which it sends to Pods."""
    return _parse(node.metadata.annotations.get(names.IP_ADDRESS, ""))


def own_addresses(node: Node) -> tuple[Address, ...]:
    """All addresses of a node's own."""
    return tuple(dict.fromkeys((*joined_addresses(node), *internal_addresses(node))))


def judging_part(subnet: crd.Subnet) -> Around | None:
    """A Subnet as far as it judges packets; None while it is not in effect."""
    found, spec = in_effect(subnet), subnet.spec
    if found is None:
        return None
    return Around(
        name=found.name,
        cidrs=found.cidrs,
        private=spec.private,
        allowed=parse_allowed(spec.allow_subnets),
        acls=tuple(
            RawAcl(number, each.direction, each.priority, each.action)
            for number, each in enumerate(spec.acls)
            if not isinstance(parse_rule(each), str)
        ),
    )


def _parse(text: str) -> tuple[Address, ...]:
    try:
        return parse_addresses(text) if text else ()
    except ValueError:
        return ()
