"""How Pods leave through their own node: the node's nftables table. Pure.

One table of our own, replaced whole. It only adds to what the host's other tables say: in nftables a packet must pass
every table, so nothing here can undo a host firewall's drop.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from kube_ovn.model import names
from kube_ovn.model.addr import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    text: str
    """Input of `nft -f`."""
    comment: str
    """The table's comment, which tells one content from another."""


def render_table(pods: Iterable[Network], fabric: Iterable[Network]) -> Table:
    """The node's table.

    pods    CIDRs whose traffic to the outside takes the node's address
    fabric  all CIDRs of the fabric: between them addresses stay as they are
    """
    pods, fabric = sorted(pods, key=str), sorted(fabric, key=str)
    families = [version for version in (4, 6) if any(network.version == version for network in pods)]
    rules = [
        *(line for version in families for line in _sets(version, pods, fabric)),
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


def _sets(version: int, pods: Iterable[Network], fabric: Iterable[Network]) -> list[str]:
    return [*_set(f"pods{version}", version, pods), *_set(f"fabric{version}", version, fabric)]


def _set(name: str, version: int, networks: Iterable[Network]) -> list[str]:
    elements = ", ".join(str(network) for network in networks if network.version == version)
    return [
        f"    set {name} {{",
        f"        type ipv{version}_addr",
        "        flags interval",
        f"        elements = {{ {elements} }}",
        "    }",
    ]


def _leaving(version: int) -> str:
    """A packet of a Pod that leaves the fabric."""
    ip = "ip" if version == 4 else "ip6"
    return f'oifname != "{names.NODE_NIC}" {ip} saddr @pods{version} {ip} daddr != @fabric{version}'
