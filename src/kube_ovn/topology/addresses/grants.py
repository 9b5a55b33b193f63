"""The collections that the steps `addresses.recall` and `addresses.allocate` fill: the grant of each owner, and the
occupancy of each subnet.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from kube_ovn.derive import Collection, Graph, Index
from kube_ovn.model.addr import Address
from kube_ovn.model.network import Grant, Subnet
from kube_ovn.model.ranges import Ranges
from kube_ovn.topology.addresses.span import Owner, Usage

READY, COMING, UNREADY = "ready", "coming", "unready"
"""Whether a subnet gives out addresses: it does, it will in a moment, or it does not."""
Pools = Mapping[str, tuple[Ranges, ...]]
"""The ranges of each IPPool of a subnet, in the order of the subnet's CIDRs."""
ANOTHERS, UNFIT = "another owner has the address", "there is no such address"


@dataclass(frozen=True, slots=True)
class Held:
    """The grant of an owner, and how far it has come."""

    owner: Owner
    grant: Grant
    uid: str
    """The UID of the holder that the grant belongs to. Empty while no holder lives, and while the next Pod of a
    StatefulSet's name may still get another grant.
    """
    recorded: bool
    """Whether the grant was once recorded for this holder in an IP object: the holder's port may exist."""


@dataclass(frozen=True, slots=True)
class Occupancy:
    """The addresses of a subnet that are in use, and those that are left."""

    usage: tuple[Usage, ...]
    pools: Mapping[str, tuple[Usage, ...]]
    """The usage of each IPPool of the subnet, by the name of the pool."""
    old_gateways: tuple[Address, ...]
    """Former gateways of the subnet, which owners were given and still use."""
    owners: int
    """The number of owners that have addresses in the subnet."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The reason why a holder gets no address."""

    reason: str
    message: str
    elsewhere: bool = False
    """Whether the user may get an address in another subnet instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    """The collections that the steps fill. Earlier derivations read them too: then a further round follows."""

    held: Collection[str, Held]
    """By the key of the owner."""
    by_subnet: Index[str, str, Held]
    in_use: Collection[str, Subnet]
    """Subnets that have owners, as the ledger has them. Such a subnet keeps its addresses, whatever is written into the
    status.
    """
    occupancy: Collection[str, Occupancy]
    """By the name of the subnet."""
    disputed: Collection[str, str]
    """Why the grant of an IP object cannot be taken over, by the name of the object: a sentence for the user of a
    reservation; `ANOTHERS` or `UNFIT` for any other IP object.
    """
    refusals: Collection[str, Refusal]
    """By the record of the holder. A holder that is next for an address that is about to be free has none."""


def define(graph: Graph) -> Grants:
    """Define the collections that the steps fill. They are empty at first."""
    held = graph.collection("grants", str, Held)
    return Grants(
        held=held,
        by_subnet=graph.index("grants by subnet", held, lambda _, each: (each.grant.subnet,)),
        in_use=graph.collection("subnets in use", str, Subnet),
        occupancy=graph.collection("occupancy", str, Occupancy),
        disputed=graph.collection("disputed records", str, str),
        refusals=graph.collection("refused requests", str, Refusal),
    )
