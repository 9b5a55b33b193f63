"""The addresses that a Pod's port may send from besides its own."""

import msgspec
import pytest

from kube_ovn.model import names
from kube_ovn.model.crd import Subnet
from kube_ovn.model.kube import Node, NodeAddress, NodeStatus, Object, ObjectMeta, Pod
from kube_ovn.model.nb import LogicalSwitchPort, PortGroup
from kube_ovn.model.row import Member, RowKey
from kube_ovn.topology.graph import Topology
from kube_ovn.topology.ports.spoofing import MOST_VIPS, parse_vips
from tests.small_clusters import Api, fabric, namespace, node, pod, pool, reservation, settle, subnet

LABEL = {names.PERMIT_SPOOFING: "true"}
VIP = "10.20.0.9"
OPEN, LISTED = {names.PORT_SECURITY: "false"}, {names.PORT_VIPS: VIP}


class World:
    """A Pod `a` in Subnet `blue`, with annotations, and a controller that has done all there is to do."""

    def __init__(self, annotations: dict[str, str], *objects: Object, trusted: bool = False) -> None:
        self.api, self.topology = Api(node("node1", 1)), Topology(fabric(trusts_tenants=trusted))
        self.put(namespace("default"), subnet("blue", "10.20.0.0/24"))
        self.put(*objects, pod("a", annotations={names.LOGICAL_SWITCH: "blue", **annotations}))

    def put(self, *objects: Object) -> None:
        self.api.put(*objects)
        settle(self.topology, self.api)

    @property
    def is_open(self) -> bool:
        member = Member(PortGroup.TABLE, names.OPEN_PORTS, "ports", "a.default")
        row = self.topology.state[RowKey(LogicalSwitchPort.TABLE, "a.default")]
        assert isinstance(row, LogicalSwitchPort)
        assert (member in self.topology.state) is not bool(row.port_security), "open for all or for nothing"
        return not row.port_security

    @property
    def more(self) -> list[str]:
        """The addresses of the port besides the Pod's own."""
        row = self.topology.state[RowKey(LogicalSwitchPort.TABLE, "a.default")]
        assert isinstance(row, LogicalSwitchPort)
        (entry,) = row.port_security
        return entry.split()[2:]

    @property
    def told(self) -> str:
        problem = self.topology.problems.get("uid-a")
        return "" if problem is None else problem.message


PERMITTED = subnet("blue", "10.20.0.0/24", permit_spoofing=True)


@pytest.mark.parametrize("annotations", [OPEN, LISTED, {**OPEN, **LISTED}])
def test_nothing_counts_without_a_permission(annotations: dict[str, str]) -> None:
    world = World(annotations)
    assert not world.is_open
    assert world.more == []
    assert "counts only where an administrator permits it: permitSpoofing on Subnet blue" in world.told
    assert all(key in world.told for key in annotations)


@pytest.mark.parametrize("permission", [PERMITTED, namespace("default", LABEL)], ids=["Subnet", "Namespace"])
def test_a_permission_comes_and_goes(permission: Object) -> None:
    world, listing = World(OPEN), World(LISTED)
    for each in (world, listing):
        each.put(permission)
        assert not each.told
    assert world.is_open
    assert listing.more == [VIP]
    without: list[Object] = [subnet("blue", "10.20.0.0/24"), namespace("default", {names.PERMIT_SPOOFING: "yes"})]
    for each in (world, listing):
        each.put(*without)
        assert "counts only where an administrator permits it" in each.told
    assert not world.is_open
    assert listing.more == []


def test_trusted_tenants_need_none() -> None:
    world = World(OPEN, trusted=True)
    assert world.is_open
    assert not world.told


def test_an_address_that_is_given_away_is_taken_from_the_port_and_comes_back() -> None:
    world = World(LISTED, PERMITTED)
    other = pod("b", annotations={names.LOGICAL_SWITCH: "blue", names.IP_ADDRESS: VIP})
    world.put(other)
    assert world.more == []
    assert f"{VIP} is given to another Pod or reserved" in world.told
    world.api.remove(other.metadata.uid)
    settle(world.topology, world.api)
    assert world.more == [VIP]
    assert not world.told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("10.20.0.1", "10.20.0.1 is a gateway of subnet blue"),
        ("10.16.0.9", "10.16.0.9 is no host address in the CIDR 10.20.0.0/24 of subnet blue"),
        ("10.96.0.1", "10.96.0.1 is no host address"),
        ("fe80::1", "fe80::1 is no host address"),
        ("10.20.0.0", "10.20.0.0 is no host address"),
        ("10.20.0.255", "10.20.0.255 is no host address"),
        ("blue", "'blue' is no address"),
    ],
)
def test_an_address_that_is_not_the_pods_to_send_from(text: str, told: str) -> None:
    world = World({names.PORT_VIPS: f"{text},{VIP}"}, PERMITTED)
    assert world.more == [VIP]
    assert told in world.told


def test_the_address_of_a_node_in_the_subnet() -> None:
    world = World({names.PORT_VIPS: "10.20.0.77"}, PERMITTED)
    assert world.more == ["10.20.0.77"]
    addresses = (NodeAddress(type="InternalIP", address="10.20.0.77"),)
    world.put(Node(metadata=ObjectMeta(name="node2", uid="node2"), status=NodeStatus(addresses=addresses)))
    assert world.more == []
    assert "10.20.0.77 is the address of node node2" in world.told


def test_an_address_that_an_ip_object_reserves() -> None:
    world = World(LISTED, PERMITTED, reservation("kept", "blue", VIP))
    assert world.more == []
    assert f"{VIP} is given to another Pod or reserved" in world.told


def test_a_former_gateway_that_pods_were_given() -> None:
    world = World({names.PORT_VIPS: "10.20.0.1"}, PERMITTED)
    item = world.api.get(Subnet, "blue")
    spec = msgspec.structs.replace(item.spec, gateway="10.20.0.200")
    world.put(msgspec.structs.replace(item, spec=spec))
    assert world.api.get(Subnet, "blue").status.gateway == "10.20.0.200"
    assert world.more == []
    assert "10.20.0.1 is a gateway of subnet blue" in world.told


def test_one_more_pod_in_the_subnet_costs_no_pod_with_further_addresses_a_look() -> None:
    world = World(LISTED, PERMITTED)
    world.put(pod("b", annotations={names.LOGICAL_SWITCH: "blue"}))
    (made,) = (each for each in world.topology.graph.derivations if each.name == "outcomes of Pods")
    before = made.worked
    world.put(pod("c", annotations={names.LOGICAL_SWITCH: "blue"}))
    inside, before = made.worked - before, made.worked
    world.put(pod("d", annotations={names.LOGICAL_SWITCH: "ovn-default"}))
    assert inside == made.worked - before, "a Pod in the subnet costs what a Pod elsewhere costs"


def test_its_own_address_is_no_further_one() -> None:
    world = World({names.PORT_VIPS: "10.20.0.2"}, PERMITTED)
    assert world.more == []
    assert not world.told


def test_port_security_that_is_neither_on_nor_off() -> None:
    world = World({names.PORT_SECURITY: "off"}, PERMITTED)
    assert not world.is_open
    assert "port_security is 'off'; it must be true or false" in world.told


def test_a_list_is_bounded() -> None:
    found = parse_vips(",".join(f"10.20.0.{number}" for number in range(2, 2 + MOST_VIPS + 1)))
    assert len(found.addresses) == MOST_VIPS
    assert found.faults == (f"{names.PORT_VIPS} has {MOST_VIPS + 1} addresses; the first {MOST_VIPS} count",)


def test_a_pod_that_asks_for_nothing_reads_no_permission() -> None:
    world = World({})
    (made,) = (each for each in world.topology.graph.derivations if each.name == "outcomes of Pods")
    worked = made.worked
    item = world.api.get(Pod, "a", "default")
    world.put(namespace("default", LABEL), msgspec.structs.replace(item))
    assert made.worked == worked


def test_an_address_in_a_pool_of_other_namespaces_is_theirs() -> None:
    world = World(
        {names.PORT_VIPS: f"10.20.0.100,{VIP}"}, PERMITTED, pool("few", "blue", "10.20.0.100", namespaces=("x",))
    )
    assert world.more == [VIP]
    assert "10.20.0.100 is in an IPPool for other Namespaces" in world.told
