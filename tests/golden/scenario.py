"""A golden scenario: `cluster.yaml` in, the whole outcome as text out. Shared by the test and by `rewrite`."""

from pathlib import Path

import msgspec

from kube_ovn.model import crd
from kube_ovn.model.admin_policy import AdminNetworkPolicy, BaselineAdminNetworkPolicy, ClusterNetworkPolicy
from kube_ovn.model.kube import EndpointSlice, Namespace, Node, Object, Pod, Service, ServiceCIDR
from kube_ovn.model.policy import NetworkPolicy
from kube_ovn.model.row import Row, State
from kube_ovn.model.security import SecurityGroup
from kube_ovn.topology.graph import Topology
from tests.small_clusters import Api, fabric, settle

FOLDER = Path(__file__).parent
SCENARIOS = sorted(path.parent.name for path in FOLDER.glob("*/cluster.yaml"))
KINDS: dict[str, type[Object]] = {
    "Pod": Pod,
    "Node": Node,
    "Namespace": Namespace,
    "Subnet": crd.Subnet,
    "IP": crd.IP,
    "IPPool": crd.IPPool,
    "Vpc": crd.Vpc,
    "StatefulSet": crd.StatefulSet,
    "Service": Service,
    "EndpointSlice": EndpointSlice,
    "ServiceCIDR": ServiceCIDR,
    "NetworkPolicy": NetworkPolicy,
    "SecurityGroup": SecurityGroup,
    "AdminNetworkPolicy": AdminNetworkPolicy,
    "BaselineAdminNetworkPolicy": BaselineAdminNetworkPolicy,
    "ClusterNetworkPolicy": ClusterNetworkPolicy,
}


def load(scenario: str) -> tuple[Topology, Api]:
    """The scenario's objects, and a controller that has nothing left to write for them (a `Network` document changes
    the default CIDRs, and whether tenants are trusted).
    """
    documents = msgspec.yaml.decode((FOLDER / scenario / "cluster.yaml").read_text(), type=list[dict[str, object]])
    network = fabric()
    objects: list[Object] = []
    for document in documents:
        if document["kind"] == "Network":
            network = fabric(
                str(document.get("default", "10.16.0.0/16")),
                str(document.get("join", "100.64.0.0/16")),
                trusts_tenants=document.get("tenants") == "trusted",
            )
        else:
            objects.append(msgspec.convert(document, KINDS[str(document["kind"])]))
    topology, api = Topology(network), Api(*objects)
    settle(topology, api)
    return topology, api


def outcome(scenario: str) -> str:
    """Rows, memberships, annotations, IP objects, Subnets and problems, sorted, as a reviewer reads them."""
    topology, api = load(scenario)
    lines = [*_rows(topology.state), "", "# Annotations"]
    for item in _sorted(api, Namespace, Node, Pod):
        if item.metadata.annotations:
            lines.append(f"{type(item).__name__} {item.metadata.name}")
            lines += [f"  {key}={value}" for key, value in sorted(item.metadata.annotations.items())]
    lines += ["", "# IP objects"]
    for item in _sorted(api, crd.IP):
        assert isinstance(item, crd.IP)
        spec = item.spec
        owner = f"{spec.pod_type or 'Pod'} {spec.owner_uid}" if spec.owner_uid else "reservation"
        lines.append(
            f"{item.metadata.name}: {spec.ip_address or spec.v4_ip_address} {spec.mac_address} gateway {spec.gateway} "
            f"in {spec.subnet} for {owner} on {spec.node_name or 'no node'}"
        )
    lines += ["", "# Subnets and pools"]
    for item in _sorted(api, crd.Subnet, crd.IPPool):
        lines += _status(item)
    lines += ["", "# Problems"]
    problems = [each for each in topology.told.values() if not each.normal]
    for problem in sorted(problems, key=lambda p: (p.object.kind, p.object.name, p.reason)):
        lines.append(f"{problem.object.kind} {problem.object.name}: {problem.reason}: {problem.message}")
    if seekers := {each.elsewhere: each for each in problems if each.elsewhere}:
        last = [each for _, each in sorted(seekers.items())]
        lines += ["", "# Where Pods that get no address are sent"]
        texts = zip(last, topology.describe(last), strict=True)
        lines += [text.removeprefix(f"{each.message}; ") for each, text in texts]
    return "\n".join(lines) + "\n"


def _sorted(api: Api, *kinds: type[Object]) -> list[Object]:
    chosen = [item for item in api.objects.values() if isinstance(item, kinds)]
    return sorted(chosen, key=lambda item: (type(item).__name__, item.metadata.namespace, item.metadata.name))


def _status(item: Object) -> list[str]:
    assert isinstance(item, crd.Subnet | crd.IPPool)
    status = item.status
    lines = [f"{type(item).__name__} {item.metadata.name}"]
    if isinstance(status, crd.SubnetStatus):
        lines.append(f"  in effect: {status.cidr_block or '-'} gateway {status.gateway or '-'}")
    lines += [f"  {each.type}={each.status} {each.reason} {each.message}".rstrip() for each in status.conditions]
    lines.append(f"  IPv4: using {status.v4_using_ips} {status.v4_using_ip_range}, available {status.v4_available_ips}")
    if status.v6_using_ips or status.v6_available_ips:
        lines.append(
            f"  IPv6: using {status.v6_using_ips} {status.v6_using_ip_range}, available {status.v6_available_ips}"
        )
    return lines


def _rows(state: State) -> list[str]:
    lines: list[str] = []
    for row in sorted((row for row in state.values() if row is not None), key=lambda row: row.row_key):
        lines.append(f"{row.TABLE} {row.key}")
        lines += [f"  {column}={value}" for column, value in _columns(row)]
        members = sorted(key for key in state if len(key) == 4 and (key.table, key.key) == row.row_key)
        lines += [f"  {member.column}: {member.target}" for member in members]
    return lines


def _columns(row: Row) -> list[tuple[str, str]]:
    shown = []
    for column in row.__struct_fields__:
        value = getattr(row, column)
        if isinstance(value, frozenset):
            value = " | ".join(sorted(value))
        elif isinstance(value, dict):
            value = " ".join(f"{key}={entry}" for key, entry in sorted(value.items()))
        if value not in ("", None, 0):
            shown.append((column, str(value)))
    return shown
