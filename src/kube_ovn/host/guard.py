"""The guard of the databases of OVN at this node: the node's third table of nftables. Pure.

A program that can write the Northbound database rules the network. So the ports of the databases are for the nodes of
the cluster, whatever address of the node is asked, and never for a packet that came out of the fabric or was led here
by a rule of nftables (a Service with a node's address among its endpoints, a hostPort). The output of `nft list table
inet kube-ovn-guard` is meant to be read.
"""

from collections.abc import Collection

from kube_ovn.host.nftables import FABRIC_NICS, Rendered, format_table, ip_of, nodes_set
from kube_ovn.model import names
from kube_ovn.model.addr import Address

_DATABASES = f"tcp dport {{ {', '.join(map(str, names.DATABASE_PORTS))} }}"
_REFUSE = "counter reject with tcp reset"


def render_guard(nodes: Collection[Address]) -> Rendered:
    """The table. `nodes`: the addresses of all nodes of the cluster."""
    rules = [
        *(line for version in (4, 6) for line in nodes_set(version, nodes)),
        "    chain databases {",
        f"        iifname {FABRIC_NICS} {_REFUSE}",
        f"        ct status dnat {_REFUSE}",
        *(f"        {ip_of(version)} saddr @nodes{version} accept" for version in (4, 6)),
        f"        {_REFUSE}",
        "    }",
        "    chain input {",
        "        type filter hook input priority filter; policy accept;",
        f'        iifname != "lo" {_DATABASES} goto databases',
        "    }",
        "    chain forward {",
        '        comment "no client gets the address of a node on its way to a database"',
        "        type filter hook forward priority filter; policy accept;",
        *(f"        {_forwarded(version)} {_REFUSE}" for version in (4, 6)),
        "    }",
    ]
    text, comment = format_table(names.GUARD_TABLE, rules)
    return Rendered(text=text, comment=comment)


def _forwarded(version: int) -> str:
    ip = ip_of(version)
    return f"{_DATABASES} {ip} daddr @nodes{version} {ip} saddr != @nodes{version}"
