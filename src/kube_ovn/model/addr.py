"""Addresses as users write them (`v4`, `v6` or `v4,v6`) and as Python has them (`ipaddress`). No decisions here."""

import re
import socket
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def parse_addresses(text: str) -> tuple[Address, ...]:
    """Parse `10.16.0.5`, `fd00::5` or `10.16.0.5,fd00::5`. Raises ValueError with a sentence for the user."""
    addresses = tuple(_address(part.strip()) for part in text.split(","))
    _one_of_each_family(text, [address.version for address in addresses])
    return addresses


def parse_networks(text: str) -> tuple[Network, ...]:
    """Parse one CIDR or one of each family, joined by a comma; no host bits. Raises ValueError."""
    networks = []
    for part in text.split(","):
        try:
            network = ip_network(part.strip())
        except ValueError:
            raise ValueError(f"{part.strip()!r} is not a CIDR{_advise(part.strip())}") from None
        if isinstance(network, IPv6Network) and _is_odd(network.network_address):
            raise ValueError(f"{part.strip()!r} is not a CIDR: it has a zone, or is IPv4 in the form of IPv6")
        networks.append(network)
    _one_of_each_family(text, [network.version for network in networks])
    return tuple(networks)


def _advise(text: str) -> str:
    """The end of the sentence on a text that is no CIDR."""
    if not text:
        return ": nothing stands before or after a comma; remove the comma"
    if ";" in text:
        return ": join one CIDR of each IP family with a comma"
    try:
        return f": {text} has host bits set; use {ip_network(text, strict=False)}"
    except ValueError:
        return " like 10.66.0.0/16 or fd66::/112"


def parse_address(text: str) -> Address:
    """Parse one address, without a zone. Raises ValueError with a sentence for the user."""
    return _address(text.strip())


def is_within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def is_part(network: Network, of: Network) -> bool:
    """Whether a network is a part of another one, or the same."""
    return network.version == of.version and network.prefixlen >= of.prefixlen and network.network_address in of


def parse_mac(text: str) -> str:
    """Parse a unicast MAC address into lower-case colon form. Raises ValueError."""
    mac = text.strip().lower().replace("-", ":")
    if not _MAC.fullmatch(mac):
        raise ValueError(f"{text!r} is not a MAC address like 0a:00:00:12:34:56")
    if int(mac[:2], 16) & 1:
        raise ValueError(f"{text!r} is a multicast MAC address; the second hex digit must be even")
    if mac == "00:00:00:00:00:00":
        raise ValueError(f"{text!r} is not usable as the address of an interface")
    return mac


def format_list(items: Iterable[object]) -> str:
    """Format a list as annotations have it: `a,b`."""
    return ",".join(map(str, items))


def _address(text: str) -> Address:
    # The C library takes the same texts as `ipaddress.ip_address`, apart from zones, in a tenth of the time. About five
    # are parsed for each Pod when the controller starts.
    try:
        if ":" not in text:
            return IPv4Address(socket.inet_pton(socket.AF_INET, text))
        address = IPv6Address(socket.inet_pton(socket.AF_INET6, text))
    except (OSError, ValueError):
        raise ValueError(f"{text!r} is not an IP address") from None
    if address.ipv4_mapped is not None:  # Python has two texts for it, depending on its version
        raise ValueError(f"{text!r} is an IPv4 address in the form of an IPv6 address; write {address.ipv4_mapped}")
    return address


def _is_odd(address: IPv6Address) -> bool:
    return address.scope_id is not None or address.ipv4_mapped is not None


def _one_of_each_family(text: str, versions: Sequence[int]) -> None:
    if len(set(versions)) != len(versions):
        raise ValueError(f"{text!r} has two entries of the same IP family; one of each at most")
