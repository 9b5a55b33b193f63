"""The settings of the kernel that the packets of Pods need on their way through a node, link by link. Pure.

A Pod may leave through any link that leads somewhere, and the answers come in there; so these links are the uplinks.
The links of Pods, and others without a route or an address, stay as they are.

Not needed: `rp_filter` of an uplink, where even a strict check finds the way back, because the rules of policy routing
match the Pod's address also for an answer; nor `src_valid_mark`, because no way depends on a mark.
"""

from collections.abc import Collection, Iterator, Sequence
from ipaddress import ip_network

from kube_ovn.model import names
from kube_ovn.model.host import Sysctl, Way

_OFF = frozenset({"0"})
IPV6_FORWARDING = Sysctl(path="ipv6/conf/all/forwarding", value="1", instead_of=_OFF)
"""Without it no IPv6 packet is forwarded, whatever the setting of a link; only from Linux 6.17 on a link can do without
(`force_forwarding`).
"""
EVERY_LINKS = ip_network("fe80::/64")
"""The network to which each link with IPv6 leads."""


def find_uplinks(ways: Collection[Way], version: int) -> dict[str, int]:
    """The index of each link, by name, over which packets of an IP family come in from outside."""
    return {
        way.link: way.index
        for way in sorted(ways, key=lambda way: way.index)
        if way.to.version == version and way.link not in names.NODE_NICS and way.to != EVERY_LINKS
    }


def render_ipv4(nics: Collection[str], ways: Collection[Way]) -> Sequence[Sysctl]:
    """The IPv4 settings that the node's own NICs and the uplinks need."""
    return [*_nics(nics), *(_forwarding(link) for link in find_uplinks(ways, 4))]


def _nics(nics: Collection[str]) -> Iterator[Sysctl]:
    for nic in sorted(nics):
        yield _forwarding(nic)
        # Packets of Pods come in here, and answers may leave elsewhere. The kernel takes the larger one of this value
        # and the one for all links, so 2 (loose) holds whatever that is.
        yield Sysctl(path=f"ipv4/conf/{nic}/rp_filter", value="2", instead_of=frozenset({"0", "1"}))


def _forwarding(link: str) -> Sysctl:
    return Sysctl(path=f"ipv4/conf/{link}/forwarding", value="1", instead_of=_OFF)


def render_ipv6(ways: Collection[Way], *, is_forwarding: bool) -> Sequence[Sysctl]:
    """The IPv6 settings that a node needs, forwarding last. `is_forwarding`: whether the node forwards already.

    A link with `accept_ra` 1 hears routers only while the node does not forward, and what it had learnt from them goes
    (ip-sysctl of the kernel's documentation). 2 is the same for a node that forwards. Each uplink gets it before the
    node begins to forward. Where the node forwards already, only links do that live on what routers tell: others have
    not heard them, and may be meant not to.
    """
    taught = {way.link for way in ways if way.taught}
    deaf = [link for link in find_uplinks(ways, 6) if link in taught or not is_forwarding]
    return [*map(_hears_routers, deaf), IPV6_FORWARDING]


def _hears_routers(link: str) -> Sysctl:
    return Sysctl(path=f"ipv6/conf/{link}/accept_ra", value="2", instead_of=frozenset({"1"}))
