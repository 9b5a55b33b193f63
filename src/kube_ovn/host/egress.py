"""How Pods leave through their own node: the node's nftables table. Pure.

One table of our own, replaced whole. It only adds to what the host's other tables say: in nftables a packet must pass
every table, so nothing here can undo a host firewall's drop. `nft list table inet kube-ovn` is meant to be read.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kube_ovn.host.subnet import NodeSubnet
from kube_ovn.model import names
from kube_ovn.model.addr import Network

_LONGEST_COMMENT = 127
"""Bytes nft takes for the comment of an element."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    text: str
    """Input of `nft -f`."""
    comment: str
    """The table's comment, which tells one content from another."""


def render_table(fabric: Sequence[NodeSubnet]) -> Table:
    """The node's table: between the subnets of the fabric addresses stay as they are; on the way out, those of subnets
    with `nat` become the node's.
    """
    families = sorted({network.version for subnet in fabric for network in subnet.networks})
    rules = [
        *(line for version in families for line in _sets(version, fabric)),
        "    chain forward {",
        '        comment "packets without a connection would leave with the address of a Pod"',
        "        type filter hook forward priority filter; policy accept;",
        *(f"        {_leaving(version)} ct state invalid counter drop" for version in families),
        "    }",
        "    chain postrouting {",
        '        comment "Pods reach the outside with the address of their node"',
        "        type nat hook postrouting priority srcnat; policy accept;",
        *(f"        {_leaving(version)} counter masquerade fully-random" for version in families),
        "    }",
    ]
    comment = f"written by kube-ovn-cniserver, changes are overwritten; {_digest(rules)}"
    lines = [
        # Declared first, so that there is something to delete on the first run too; all of it is one transaction.
        f"table inet {names.NFT_TABLE}",
        f"delete table inet {names.NFT_TABLE}",
        f"table inet {names.NFT_TABLE} {{",
        f'    comment "{comment}"',
        *rules,
        "}",
    ]
    return Table(text="\n".join(lines) + "\n", comment=comment)


def _digest(rules: Iterable[str]) -> str:
    return hashlib.blake2b("\n".join(rules).encode(), digest_size=8).hexdigest()


def _sets(version: int, fabric: Sequence[NodeSubnet]) -> list[str]:
    leaving = [subnet for subnet in fabric if subnet.nat]
    return [
        *_set(
            "pods", version, "subnets with natOutgoing: outside the fabric their Pods have the node's address", leaving
        ),
        *_set("fabric", version, "all subnets: between them every Pod has its own address", fabric),
    ]


def _set(name: str, version: int, comment: str, subnets: Iterable[NodeSubnet]) -> list[str]:
    elements = [f'{network} comment "{owners}"' for network, owners in _elements(version, subnets)]
    listed = (",\n" + " " * len("        elements = { ")).join(elements)
    return [
        f"    set {name}{version} {{",
        f'        comment "{comment}"',
        f"        type ipv{version}_addr",
        "        flags interval",
        # An empty list of elements is no valid nft.
        *([f"        elements = {{ {listed} }}"] if elements else []),
        "    }",
    ]


def _elements(version: int, subnets: Iterable[NodeSubnet]) -> list[tuple[Network, str]]:
    """The networks of a family in order, and whose each is. One inside another is left out: nft takes no overlap, and
    a subnet made anew under another name may meet its predecessor here.
    """
    owners: dict[Network, list[str]] = {}
    for subnet in subnets:
        for network in subnet.networks:
            if network.version == version:
                owners.setdefault(network, []).append(subnet.name)
    found: list[tuple[Network, str]] = []
    for network in sorted(owners, key=lambda network: (int(network.network_address), network.prefixlen)):
        if not found or not _contains(found[-1][0], network):
            found.append((network, ", ".join(sorted(owners[network]))[:_LONGEST_COMMENT]))
    return found


def _contains(outer: Network, inner: Network) -> bool:
    """Whether `inner`, which does not begin before `outer`, lies inside it."""
    return int(inner.network_address) <= int(outer.broadcast_address)


def _leaving(version: int) -> str:
    """A packet of a Pod that leaves the fabric."""
    ip = "ip" if version == 4 else "ip6"
    return f'oifname != "{names.NODE_NIC}" {ip} saddr @pods{version} {ip} daddr != @fabric{version}'
