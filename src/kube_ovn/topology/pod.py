"""A Pod: what it asks for, the port it gets, and the annotations that let it start. Pure."""

from dataclasses import dataclass

from kube_ovn.model import names
from kube_ovn.model.addr import Address, format_list, parse_addresses, parse_mac
from kube_ovn.model.kube import Pod
from kube_ovn.model.nb import LogicalSwitch, LogicalSwitchPort, PortGroup
from kube_ovn.model.network import Grant, Kind, ObjectRef, Problem, Subnet
from kube_ovn.model.row import Key, Member, Row, facts, owned


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a Pod asks for: a subnet, and addresses where its user or an earlier grant fixed them."""

    subnet: str
    addresses: tuple[Address, ...]
    mac: str | None


def needs_port(pod: Pod) -> bool:
    """Whether a Pod is to have a port: it has a node, its own network namespace, and has not ended.

    Before the scheduler has picked a node nobody can use an address, so a Pod that waits for a node holds none.
    """
    return bool(pod.spec.node_name) and not pod.spec.host_network and pod.status.phase not in ("Succeeded", "Failed")


def pod_ref(pod: Pod) -> ObjectRef:
    meta = pod.metadata
    return ObjectRef(kind=Kind.POD, namespace=meta.namespace, name=meta.name, uid=meta.uid)


def parse_request(pod: Pod, default_subnet: str) -> Request | Problem:
    """Read the Pod's annotations, the user's or those of an earlier grant."""
    annotations = pod.metadata.annotations
    try:
        return Request(
            subnet=annotations.get(names.LOGICAL_SWITCH) or default_subnet,
            addresses=parse_addresses(text) if (text := annotations.get(names.IP_ADDRESS)) else (),
            mac=parse_mac(text) if (text := annotations.get(names.MAC_ADDRESS)) else None,
        )
    except ValueError as error:
        return pod_problem(pod, names.VALIDATE_POD_NETWORK_FAILED, f"annotation of Pod {_label(pod)}: {error}")


def pod_problem(pod: Pod, reason: str, message: str) -> Problem:
    return Problem(object=pod_ref(pod), reason=reason, message=message)


def render_pod(pod: Pod, grant: Grant, node_known: bool) -> dict[Key, Row | None]:
    """The Pod's port, on its switch and in its node's group."""
    meta, node = pod.metadata, pod.spec.node_name
    port = names.pod_port(meta.name, meta.namespace)
    members = [Member(LogicalSwitch.TABLE, grant.subnet, "ports", port)]
    if node_known:
        members.append(Member(PortGroup.TABLE, names.node_port_group(node), "ports", port))
    return facts(
        LogicalSwitchPort(
            name=port,
            addresses=frozenset({grant.lsp_addresses}),
            # Only this chassis may claim the port: a stale interface of a namesake on another node cannot take it over.
            options={"requested-chassis": node},
            external_ids=owned(ls=grant.subnet, pod=f"{meta.namespace}/{meta.name}", owner_uid=meta.uid),
        ),
        members=tuple(members),
    )


def pod_annotations(router: str, grant: Grant, subnet: Subnet) -> dict[str, str]:
    """What the node's daemon waits for; published only after the port is committed."""
    return {
        names.ALLOCATED: "true",
        names.IP_ADDRESS: format_list(grant.addresses),
        names.MAC_ADDRESS: grant.mac,
        names.CIDR: format_list(subnet.cidrs),
        names.GATEWAY: format_list(subnet.gateways),
        names.LOGICAL_SWITCH: subnet.name,
        names.LOGICAL_ROUTER: router,
        names.POD_NIC_TYPE: names.VETH_PAIR,
        names.ROUTED: "true",
    }


def _label(pod: Pod) -> str:
    return f"{pod.metadata.namespace}/{pod.metadata.name}"
