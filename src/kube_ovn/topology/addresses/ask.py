"""The request of a holder: the places and addresses that will do for it, or the grant that the former holder had.

`addresses.request` makes the requests, `addresses.allocate` grants them.
"""

from dataclasses import dataclass

from kube_ovn.model.addr import Address
from kube_ovn.topology.addresses.grants import Refusal
from kube_ovn.topology.addresses.span import REST, Owner


@dataclass(frozen=True, slots=True)
class Place:
    """A subnet, or a pool of it."""

    subnet: str
    pool: str = REST


@dataclass(frozen=True, slots=True)
class Choice:
    """One entry of the list of addresses that the Pods of a workload choose from."""

    place: Place
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """The content of a request. Holders that ask for the same are told the same when they get no address."""

    places: tuple[Place, ...] = ()
    """The places in which to look for an address, in order."""
    versions: tuple[int, ...] = ()
    addresses: tuple[Address, ...] = ()
    """Addresses that the user fixed, all in the first place."""
    mac: str | None = None
    choices: tuple[Choice, ...] = ()
    listed: int = 0
    """The number of entries in the list that the choices come from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """A request for addresses."""

    record: str
    uid: str
    owner: Owner
    order: tuple[bool, bool, str, str, str]
    """The rank of the request: the least is granted first."""
    ask: Ask


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """A request for the grant that the former holder of the name had."""

    record: str
    uid: str
    owner: Owner


Asked = Want | Keep | Refusal
