"""The nouns of a node: sandboxes and their networks, links, addresses, routes. No decisions here."""

import hashlib
from dataclasses import dataclass
from typing import TypeAlias

from kube_ovn.model import names
from kube_ovn.model.addr import Address, Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """One attachment as the container runtime names it (CNI specification, section 2): the interface of a container,
    and the Pod that it is for.
    """

    container: str
    interface: str
    netns: str
    namespace: str = ""
    pod: str = ""
    uid: str = ""
    """The UID of the Pod in the runtime's CNI_ARGS; empty when there is none."""

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
    """Free text on a link. On a Pod's link it names the sandbox that the link is for."""


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
class Way:
    """A network that a link of the node leads to, by a route of the main table or by an address of the link."""

    link: str
    index: int
    """The index of the link."""
    to: Network
    via: Address | None = None
    """The router; None where there is none in between."""
    taught: bool = False
    """Whether a router advertisement made the route or the address (RFC 4861, RFC 4862)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The networks around a node at one moment, as the kernel knows them."""

    addresses: frozenset[Address]
    """The addresses of the node, except IPv6 link-local ones."""
    ways: tuple[Way, ...]
    """The networks that links lead to; the loopback's are left out. Of several ways of a link through routers, which
    are no default routes, one of each IP family and origin stands for all.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Sysctl:
    """A setting of the kernel (sysctl(8)) and the value that it gets in place of those that do not do."""

    path: str
    """Below `/proc/sys/net`."""
    value: str
    instead_of: frozenset[str]

    def __str__(self) -> str:
        return f"net.{self.path.translate(_DOTTED)}"


_DOTTED = str.maketrans("/.", "./")
"""How sysctl(8) writes a path: `eth0.5` is `eth0/5`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetourRule:
    """A rule (ip-rule(8)): packets of a source are routed by a table of their own; rules of a larger priority come
    later.
    """

    source: Network
    table: int
    priority: int

    def __str__(self) -> str:
        return f"rule from {self.source} to table {self.table}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DetourRoute:
    """The default route of the table of a detour."""

    table: int
    via: Address

    def __str__(self) -> str:
        return f"default route via {self.via} in table {self.table}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DetourEnd:
    """The rule that drops packets of a source when the table of its detour has no route: no other way may be used."""

    table: int
    version: int

    def __str__(self) -> str:
        return f"unreachable default of IPv{self.version} in table {self.table}"


Detour: TypeAlias = DetourRule | DetourRoute | DetourEnd


@dataclass(frozen=True, slots=True, kw_only=True)
class PodNetwork:
    """The addresses and routes that the interface of a Pod is to have, as the controller granted them. `gateways` are
    in the order of `interfaces`.
    """

    uid: str
    mac: str
    interfaces: tuple[InterfaceAddress, ...]
    gateways: tuple[Address, ...]
    routes: tuple[Route, ...]


def pod_link(container: str, interface: str) -> str:
    """The name of the host's end of a Pod's link: 14 characters; Linux allows 15.

    The container ids of a runtime are random, and users see their beginning in its listings. Anything else (a short id,
    a further interface) is named by a digest. Two names can be the same only by chance (48 bits), which ADD notices: it
    leaves a link alone that the database has for another container.
    """
    if interface == "eth0" and len(container) >= 32 and container.isalnum():
        return container[:12] + names.POD_LINK_SUFFIX
    digest = hashlib.blake2b(f"{container}/{interface}".encode(), digest_size=6).hexdigest()
    return digest + names.POD_LINK_SUFFIX


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """A port at which a Service is reached on a node, at one address or at all."""

    version: int
    protocol: str
    """As in nft: `tcp`, `udp`, `sctp`."""
    port: int
    address: Address | None = None
    """The address; None for any address of the node."""
