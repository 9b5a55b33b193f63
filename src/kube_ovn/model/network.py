"""The nouns of the controller's decisions: subnets, grants of addresses, and what users are told."""

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
        return is_within(address, self.cidrs)

    def has_host(self, address: Address) -> bool:
        """Whether an address in the subnet may be granted at all: it is neither the network address nor the broadcast
        address.
        """
        return any(address in cidr and int(address) in host_ranges(cidr) for cidr in self.cidrs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The addresses of one owner in one subnet, and the gateways that it was given. A grant is used only when it is
    written down.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRef:
    """What is needed to write to an object, or to make an Event on it."""

    kind: Kind
    namespace: str
    name: str
    uid: str


def cluster_ref(kind: Kind, name: str, uid: str = "") -> ObjectRef:
    """An object that is in no Namespace. The UID is empty while the object does not exist."""
    return ObjectRef(kind=kind, namespace="", name=name, uid=uid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the user of an object is told while it is true. It becomes an Event on the object: once when it becomes
    true, and again when it changes. Bad input becomes such a value, and stops no other object.
    """

    object: ObjectRef
    reason: str
    message: str
    normal: bool = False
    """Whether all is well: then the Event is a Normal one, else a Warning."""
