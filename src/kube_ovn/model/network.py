"""The nouns of the controller's decisions: subnets, grants of addresses, and problems of users' objects."""

from dataclasses import dataclass
from enum import StrEnum

from kube_ovn.model.addr import Address, Network, format_list


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """One logical switch with one router port. `cidrs` and `gateways` hold one entry a family, in the same order."""

    name: str
    cidrs: tuple[Network, ...]
    gateways: tuple[Address, ...]
    exclude: tuple[tuple[Address, Address], ...] = ()
    """Ranges, first and last address, that are never handed out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The addresses one owner (a Pod's or a Node's UID) has in one subnet. Used only when written down."""

    subnet: str
    addresses: tuple[Address, ...]
    mac: str

    @property
    def lsp_addresses(self) -> str:
        """The form of `Logical_Switch_Port.addresses`: `MAC ip[ ip6]`."""
        return " ".join([self.mac, *map(str, self.addresses)])

    def __str__(self) -> str:
        return f"{format_list(self.addresses)} on {self.subnet}"


class Kind(StrEnum):
    """Kinds whose objects a Problem can be reported on."""

    POD = "Pod"
    NODE = "Node"
    NAMESPACE = "Namespace"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRef:
    """Enough to write an Event on an object."""

    kind: Kind
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Bad input: becomes an Event on the object its user owns; stops nobody else."""

    object: ObjectRef
    reason: str
    message: str
