"""How tables of nftables are written: whole, each with a comment that tells one content from another. Pure."""

import hashlib
from collections.abc import Iterable, Sequence

from kube_ovn.model import names
from kube_ovn.model.addr import Network

LONGEST_COMMENT = 127
"""Bytes nft takes for the comment of an element."""
FABRIC_NICS = f'{{ "{names.NODE_NIC}", "{names.GATEWAY_NIC}" }}'
"""Where packets come from that Pods sent."""


def format_table(name: str, rules: Sequence[str]) -> tuple[str, str]:
    """Input of `nft -f` that puts a table in place of whatever it was, and its comment."""
    digest = hashlib.blake2b("\n".join(rules).encode(), digest_size=8).hexdigest()
    comment = f"written by kube-ovn-cniserver, changes are overwritten; {digest}"
    lines = [*_delete(name), f"table inet {name} {{", f'    comment "{comment}"', *rules, "}"]
    return "\n".join(lines) + "\n", comment


def format_removal(name: str) -> str:
    """Input of `nft -f` that leaves no such table."""
    return "\n".join(_delete(name)) + "\n"


def _delete(name: str) -> list[str]:
    # Declared first, so that there is something to delete on the first run too; all of it is one transaction.
    return [f"table inet {name}", f"delete table inet {name}"]


def block(head: str, comment: str, kind: str, elements: Sequence[str], flags: str = "interval") -> list[str]:
    """A set or map."""
    listed = (",\n" + " " * len("        elements = { ")).join(elements)
    return [
        f"    {head} {{",
        f'        comment "{comment}"',
        f"        type {kind}",
        *([f"        flags {flags}"] if flags else []),
        # An empty list of elements is no valid nft.
        *([f"        elements = {{ {listed} }}"] if elements else []),
        "    }",
    ]


def braced(networks: Iterable[Network]) -> str:
    return f"{{ {', '.join(map(str, networks))} }}"


def ip_of(version: int) -> str:
    """What nft calls a family."""
    return "ip" if version == 4 else "ip6"
