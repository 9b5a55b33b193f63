"""What the two steps of `addresses.steps` put into the graph: who has which address, and what of a subnet is in use."""

from collections.abc import Mapping
from dataclasses import dataclass

from kube_ovn.derive import Collection, Graph, Index
from kube_ovn.model.addr import Address
from kube_ovn.model.network import Grant, Subnet
from kube_ovn.model.ranges import Ranges
from kube_ovn.topology.addresses.ledger import Owner, Usage

READY, COMING, UNREADY = "ready", "coming", "unready"
"""Whether a subnet gives out addresses: it does; it will in a moment; it does not."""
Pools = Mapping[str, tuple[Ranges, ...]]
"""The ranges of each IPPool of a subnet, in the order of the subnet's CIDRs."""
ANOTHERS, UNFIT = "another owner has the address", "there is no such address"


@dataclass(frozen=True, slots=True)
class Held:
    """The grant of an owner."""

    owner: Owner
    grant: Grant
    uid: str
    """The UID of the holder it was given to; empty while none lives, or while the next Pod of a StatefulSet's name may
    yet get another.
    """
    recorded: bool
    """Whether it was written down for this holder once: its port may be there."""


@dataclass(frozen=True, slots=True)
class Occupancy:
    """What of a subnet is in use and what is left."""

    usage: tuple[Usage, ...]
    pools: Mapping[str, tuple[Usage, ...]]
    """The same of each IPPool in it."""
    old_gateways: tuple[Address, ...]
    """Gateways that owners were given before a change of the subnet, and use still."""
    owners: int
    """How many have addresses in it."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a holder has no address."""

    reason: str
    message: str
    subnets: tuple[str, ...] = ()
    """Subnets in which all is in use: an address that is about to be free in one of them is worth waiting for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    """Collections that the steps put values into. Earlier derivations read them too: a further round follows then."""

    held: Collection[str, Held]
    """By the key of the owner."""
    by_subnet: Index[str, str, Held]
    in_use: Collection[str, Subnet]
    """Subnets in which there are owners, as the ledger has them: these keep what they have whatever is written into the
    status.
    """
    occupancy: Collection[str, Occupancy]
    """By the name of the subnet."""
    disputed: Collection[str, str]
    """Why the grant of an IP object cannot be taken over, by its name: a sentence for the user of a reservation,
    `ANOTHERS` or `UNFIT` for others.
    """
    refusals: Collection[str, Refusal]
    """By the record of the holder."""


def define(graph: Graph) -> Grants:
    held = graph.collection("grants", str, Held)
    return Grants(
        held=held,
        by_subnet=graph.index("grants by subnet", held, lambda _, each: (each.grant.subnet,)),
        in_use=graph.collection("subnets in use", str, Subnet),
        occupancy=graph.collection("occupancy", str, Occupancy),
        disputed=graph.collection("disputed records", str, str),
        refusals=graph.collection("refused requests", str, Refusal),
    )
