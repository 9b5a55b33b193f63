"""The node's own resolvers, as the file resolv.conf(5) names them. Pure."""

from ipaddress import ip_address

from kube_ovn.model.addr import Address


def parse_resolvers(text: str) -> tuple[str, ...]:
    """The resolvers that the text of the file names, in its order. An IPv6 one may have a zone, as in `fe80::1%eth0`.
    What is no address is left out.
    """
    lines = [line.split() for line in text.splitlines()]
    named = (words[1] for words in lines if len(words) > 1 and words[0] == "nameserver")
    return tuple(name for name in named if to_address(name) is not None)


def to_address(text: str) -> Address | None:
    """The address that a text is, without its zone; None for another text, such as a name."""
    try:
        return ip_address(text.partition("%")[0])
    except ValueError:
        return None
