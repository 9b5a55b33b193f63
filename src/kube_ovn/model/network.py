"""The nouns of the controller's decisions: subnets, grants of addresses, and messages for users."""

from dataclasses import dataclass
from enum import StrEnum

from kube_ovn.model.addr import Address, Network, format_list, is_within
from kube_ovn.model.ranges import host_ranges


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """The addresses of one logical switch. `cidrs` and `gateways` hold one entry for each IP family, in the
    same order.
    """

    name: str
    cidrs: tuple[Network, ...]
    gateways: tuple[Address, ...]
    exclude: tuple[tuple[Address, Address], ...] = ()
    """Ranges, first and last address, that are never granted."""

    @property
    def versions(self) -> tuple[int, ...]:
        """The IP families of the subnet, in order."""
        return tuple(cidr.version for cidr in self.cidrs)

    def holds(self, address: Address) -> bool:
        """Whether an address is in the subnet."""
        return is_within(address, self.cidrs)

    def has_host(self, address: Address) -> bool:
        """Whether an address in the subnet may be granted at all: it is neither the network address nor the broadcast
        address.
        """
        return any(address in cidr and int(address) in host_ranges(cidr) for cidr in self.cidrs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The addresses of one owner in one subnet, and the gateways that the owner was given. A grant is used only when it
    is written down as an IP object.
    """

    subnet: str
    addresses: tuple[Address, ...]
    mac: str
    gateways: tuple[Address, ...] = ()
    """One for each address, in their order."""

    @property
    def lsp_addresses(self) -> str:
        """The form of `Logical_Switch_Port.addresses`: `MAC ip[ ip6]`."""
        return " ".join([self.mac, *map(str, self.addresses)])

    def __str__(self) -> str:
        return f"{format_list(self.addresses)} on {self.subnet}"


class Kind(StrEnum):
    """Kinds of objects that the controller writes to, or makes Events on."""

    POD = "Pod"
    NODE = "Node"
    NAMESPACE = "Namespace"
    SUBNET = "Subnet"
    IP = "IP"
    IPPOOL = "IPPool"
    VPC = "Vpc"
    SERVICE = "Service"
    SERVICE_CIDR = "ServiceCIDR"
    NETWORK_POLICY = "NetworkPolicy"
    SECURITY_GROUP = "SecurityGroup"
    ADMIN_POLICY = "AdminNetworkPolicy"
    BASELINE_POLICY = "BaselineAdminNetworkPolicy"
    CLUSTER_POLICY = "ClusterNetworkPolicy"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRef:
    """The identity of an object, as a write or an Event needs it."""

    kind: Kind
    namespace: str
    name: str
    uid: str


def cluster_ref(kind: Kind, name: str, uid: str = "") -> ObjectRef:
    """The identity of an object in no Namespace. The UID is empty while the object does not exist."""
    return ObjectRef(kind=kind, namespace="", name=name, uid=uid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A message for the user of an object. It becomes an Event on the object: once when the message comes, and again
    when it changes. Bad input becomes such a message, and stops no other object.
    """

    object: ObjectRef
    reason: str
    message: str
    normal: bool = False
    """Whether the Event has the type Normal, else Warning."""
    elsewhere: str = ""
    """The Namespace with subnets that the Event names as well, as they are when it is made: those with free addresses
    (`topology.addresses.elsewhere`). Their numbers change all the time, and are no reason to tell again.
    """
