"""The nouns of the controller's decisions: subnets, grants of addresses, and problems of users' objects."""

from dataclasses import dataclass
from enum import StrEnum

from kube_ovn.model.addr import Address, Network, format_list, is_within
from kube_ovn.model.ranges import host_ranges


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """The addresses of one logical switch. `cidrs` and `gateways` hold one entry a family, in the same order."""

    name: str
    cidrs: tuple[Network, ...]
    gateways: tuple[Address, ...]
    exclude: tuple[tuple[Address, Address], ...] = ()
    """Ranges, first and last address, that are never handed out."""

    @property
    def versions(self) -> tuple[int, ...]:
        """The IP families it has, in order."""
        return tuple(cidr.version for cidr in self.cidrs)

    def holds(self, address: Address) -> bool:
        return is_within(address, self.cidrs)

    def has_host(self, address: Address) -> bool:
        """Whether an address in it may be somebody's: it is neither the network's own nor the broadcast address."""
        return any(address in cidr and int(address) in host_ranges(cidr) for cidr in self.cidrs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The addresses one owner has in one subnet, and the gateways it was given. Used only when written down."""

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
    """Kinds of objects we write to, and report problems on."""

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
    """Enough to write to an object, or an Event on it."""

    kind: Kind
    namespace: str
    name: str
    uid: str


def cluster_ref(kind: Kind, name: str, uid: str = "") -> ObjectRef:
    """An object that is in no Namespace; without a UID while it is not there."""
    return ObjectRef(kind=kind, namespace="", name=name, uid=uid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the user of an object is told while it is true, as an Event on the object: once when it becomes true, and
    again when it changes. Bad input becomes such a value, and stops no other object.
    """

    object: ObjectRef
    reason: str
    message: str
    normal: bool = False
    """Whether all is well: the Event is a Normal one, not a Warning."""
