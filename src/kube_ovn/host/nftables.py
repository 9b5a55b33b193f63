"""How tables of nftables are written: each as a whole, with a comment that changes with the content. Pure."""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from kube_ovn.model import names
from kube_ovn.model.addr import Address, Network

LONGEST_COMMENT = 127
"""The most bytes that nft takes for the comment of an element."""
FABRIC_NICS = f'{{ "{names.NODE_NIC}", "{names.GATEWAY_NIC}" }}'
"""The NICs at which packets of Pods come from the fabric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A table as a whole."""

    text: str
    """Input of `nft -f`."""
    comment: str
    """The comment of the table, which changes with the content."""


def format_table(name: str, rules: Sequence[str]) -> tuple[str, str]:
    """The input of `nft -f` that puts a table in place of a former one, and the comment of the table."""
    digest = hashlib.blake2b("\n".join(rules).encode(), digest_size=8).hexdigest()
    comment = f"written by kube-ovn-cniserver, changes are overwritten; {digest}"
    lines = [*_delete(name), f"table inet {name} {{", f'    comment "{comment}"', *rules, "}"]
    return "\n".join(lines) + "\n", comment


def format_removal(name: str) -> str:
    """The input of `nft -f` that removes a table, if it is there."""
    return "\n".join(_delete(name)) + "\n"


def _delete(name: str) -> list[str]:
    # The table is declared first, so that it can be deleted on the first run too. All of it is one transaction.
    return [f"table inet {name}", f"delete table inet {name}"]


def block(head: str, comment: str, kind: str, elements: Sequence[str], flags: str = "interval") -> list[str]:
    """The lines of a set or a map. `head`: the kind and the name; `kind`: the type of the elements."""
    listed = (",\n" + " " * len("        elements = { ")).join(elements)
    return [
        f"    {head} {{",
        f'        comment "{comment}"',
        f"        type {kind}",
        *([f"        flags {flags}"] if flags else []),
        # nft does not take an empty list of elements.
        *([f"        elements = {{ {listed} }}"] if elements else []),
        "    }",
    ]


def nodes_set(version: int, nodes: Collection[Address]) -> list[str]:
    """The lines of the set of all nodes' addresses."""
    own = [str(address) for address in sorted(each for each in nodes if each.version == version)]
    return block(f"set nodes{version}", "the nodes of the cluster", f"ipv{version}_addr", own, flags="")


def braced(networks: Iterable[Network]) -> str:
    """Networks as an anonymous set."""
    return f"{{ {', '.join(map(str, networks))} }}"


def ip_of(version: int) -> str:
    """The name of an IP family in nft."""
    return "ip" if version == 4 else "ip6"
