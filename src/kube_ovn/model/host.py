"""The nouns of a node: sandboxes and their networks, links, addresses, routes. No decisions here."""

import hashlib
from dataclasses import dataclass
from typing import TypeAlias

from kube_ovn.model import names
from kube_ovn.model.addr import Address, Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """One attachment as the container runtime names it: a container's interface, and the Pod it is for."""

    container: str
    interface: str
    netns: str
    namespace: str = ""
    pod: str = ""
    uid: str = ""
    """The Pod's UID as the runtime says it; empty when it does not."""

    @property
    def link(self) -> str:
        return pod_link(self.container, self.interface)

    @property
    def label(self) -> str:
        return f"{self.namespace}/{self.pod}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    index: int
    name: str
    mac: str
    mtu: int
    up: bool
    alias: str = ""
    """Free text on a link; ours says which sandbox it is for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceAddress:
    """An address on a link and the length of its prefix, which the link is directly connected to."""

    address: Address
    prefix: int

    def __str__(self) -> str:
        return f"{self.address}/{self.prefix}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    to: Network
    via: Address | None = None
    source: Address | None = None

    def __str__(self) -> str:
        return str(self.to) + (f" via {self.via}" if self.via else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class DetourRule:
    """Packets of a source are routed by a table of their own, before rules of a larger priority are asked."""

    source: Network
    table: int
    priority: int

    def __str__(self) -> str:
        return f"rule from {self.source} to table {self.table}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DetourRoute:
    """The default route of such a table."""

    table: int
    via: Address

    def __str__(self) -> str:
        return f"default route via {self.via} in table {self.table}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DetourEnd:
    """Where there is no route in such a table, packets of a family end: they must not leave another way."""

    table: int
    version: int

    def __str__(self) -> str:
        return f"unreachable default of IPv{self.version} in table {self.table}"


Detour: TypeAlias = DetourRule | DetourRoute | DetourEnd


@dataclass(frozen=True, slots=True, kw_only=True)
class PodNetwork:
    """What a Pod's interface is to have, as the controller granted it. `gateways` are in the order of `interfaces`."""

    uid: str
    mac: str
    interfaces: tuple[InterfaceAddress, ...]
    gateways: tuple[Address, ...]
    routes: tuple[Route, ...]


def pod_link(container: str, interface: str) -> str:
    """Name of the host's end of a Pod's link, 14 characters, Linux allows 15.

    A runtime's container ids are random, and their beginning is what people see in its listings; anything else (short
    ids, further interfaces) is named by a digest. Two names can only meet by chance (48 bits), which ADD notices: it
    does not touch a link that stands in the database as another container's.
    """
    if interface == "eth0" and len(container) >= 32 and container.isalnum():
        return container[:12] + names.POD_LINK_SUFFIX
    digest = hashlib.blake2b(f"{container}/{interface}".encode(), digest_size=6).hexdigest()
    return digest + names.POD_LINK_SUFFIX


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """What a port of a Service is reached at."""

    version: int
    protocol: str
    """As nft has it: `tcp`, `udp`, `sctp`."""
    port: int
    address: Address | None = None
    """None: any address of the node."""
