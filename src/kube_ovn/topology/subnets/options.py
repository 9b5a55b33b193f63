"""Options as users write them (`key=value,key=value`): of DHCP, and of router advertisements. Pure.

OVN gives a port no answer at all when one of the port's DHCP options is unknown, or has a value of another type. So
such an option is left out, and told.
"""

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_network

from kube_ovn.model.addr import parse_mac
from kube_ovn.model.text import check_text, suggest

_KEY = re.compile(r"[A-Za-z0-9_]+")
_VALUE = re.compile(r'"[^"\\]*"|[A-Za-z0-9_.:/,{} -]+')
"""The value of an option: a string in quotes, or numbers, addresses and words. OVN puts it into an action as it is: it
must not end the action and begin another one.
"""
MOST_TOLD = 8


def parse_options(text: str) -> dict[str, str]:
    """Parse `key=value,key=value`; a value in braces may hold commas, as in `dns_server={8.8.8.8,1.1.1.1}`.

    Raises ValueError.
    """
    check_text(text, "it")
    options: dict[str, str] = {}
    depth, start = 0, 0
    for at, sign in enumerate(f"{text},"):
        depth += {"{": 1, "}": -1}.get(sign, 0)
        if sign != "," or depth > 0:
            continue
        key, equals, value = (each.strip() for each in text[start:at].partition("="))
        start = at + 1
        if equals and key and value:
            if not _KEY.fullmatch(key) or not _VALUE.fullmatch(value):
                raise ValueError(f"{key}={value} has characters that no option has")
            options[key] = value
        elif key:
            raise ValueError(f"{key!r} is not of the form key=value")
    if depth:
        raise ValueError(f"{text!r} has a brace that is not closed")
    return options


def parse_dhcp_options(text: str, version: int) -> tuple[dict[str, str], list[str]]:
    """The DHCP options in a text that OVN knows for this IP version, and a sentence for each that is left out, of the
    first `MOST_TOLD`. A text that is not of the form `key=value,key=value` is left out as a whole.
    """
    try:
        wanted = parse_options(text)
    except ValueError as error:
        return {}, [str(error)]
    right = {key: value for key, value in wanted.items() if _is_right(key, value, version)}
    wrong = [key for key in wanted if key not in right]
    return right, [_fault(key, wanted[key], version) for key in wrong[:MOST_TOLD]]


def _is_right(key: str, value: str, version: int) -> bool:
    kind = DHCP_OPTIONS[version].get(key)
    try:
        return kind is not None and kind[1](value)
    except ValueError:
        return False


def _fault(key: str, value: str, version: int) -> str:
    known = DHCP_OPTIONS[version]
    if key not in known:
        return f"{key[:100]} is no option of OVN for DHCPv{version}{suggest(key, known)}"
    return f"{key} is {value[:100]!r}; it must be {known[key][0]}"


_Kind = tuple[str, Callable[[str], bool]]
"""The form of a value in words, and the test of it, which may raise ValueError for a wrong one."""


def _number(bits: int) -> _Kind:
    most = (1 << bits) - 1
    return f"a number up to {most}", lambda value: value == str(int(value)) and 0 <= int(value) <= most


def _items(value: str) -> list[str]:
    inner = value[1:-1] if value.startswith("{") and value.endswith("}") else value
    return [each.strip() for each in inner.split(",")]


def _is_mac(value: str) -> bool:
    return bool(parse_mac(value))


def _is_text(value: str) -> bool:
    return value.startswith('"')


def _is_ipv4(value: str) -> bool:
    return all(map(IPv4Address, _items(value)))


def _is_ipv6(value: str) -> bool:
    return all(map(IPv6Address, _items(value)))


def _are_routes(value: str) -> bool:
    items = _items(value)
    return len(items) % 2 == 0 and all(map(ip_network, items[::2])) and all(map(IPv4Address, items[1::2]))


_TEXT = "a text in double quotes", _is_text
_IPV4 = "an IPv4 address, or some in braces", _is_ipv4
_IPV6 = "an IPv6 address, or some in braces", _is_ipv6
_MAC = "a MAC address", _is_mac
_FLAG = "0 or 1", lambda value: value in ("0", "1")
_ROUTES = "CIDRs and gateways in braces, as {10.0.0.0/8,10.16.0.9}", _are_routes
_HOST = "an IPv4 address, or a name in double quotes", lambda value: _is_text(value) or _is_ipv4(value)

DHCP_OPTIONS: dict[int, dict[str, _Kind]] = {
    4: {
        "netmask": _IPV4,
        "router": _IPV4,
        "dns_server": _IPV4,
        "log_server": _IPV4,
        "lpr_server": _IPV4,
        "hostname": _TEXT,
        "domain_name": _TEXT,
        "swap_server": _IPV4,
        "policy_filter": _IPV4,
        "router_solicitation": _IPV4,
        "nis_server": _IPV4,
        "ntp_server": _IPV4,
        "server_id": _IPV4,
        "server_mac": _MAC,
        "tftp_server": _HOST,
        "classless_static_route": _ROUTES,
        "ms_classless_static_route": _ROUTES,
        "ip_forward_enable": _FLAG,
        "router_discovery": _FLAG,
        "ethernet_encap": _FLAG,
        "default_ttl": _number(8),
        "tcp_ttl": _number(8),
        "mtu": _number(16),
        "lease_time": _number(32),
        "T1": _number(32),
        "T2": _number(32),
        "bootfile_name": _TEXT,
        "bootfile_name_alt": _TEXT,
        "wpad": _TEXT,
        "path_prefix": _TEXT,
        "tftp_server_address": _IPV4,
        "domain_search_list": _TEXT,
        "broadcast_address": _IPV4,
        "netbios_name_server": _IPV4,
        "netbios_node_type": _number(8),
        "arp_cache_timeout": _number(32),
        "tcp_keepalive_interval": _number(32),
        "next_server": _IPV4,
    },
    6: {
        "server_id": _MAC,
        "dns_server": _IPV6,
        "domain_search": _TEXT,
        "fqdn": _TEXT,
        "bootfile_name": _TEXT,
        "bootfile_name_alt": _TEXT,
        "dhcpv6_stateless": ("true or false", lambda value: value in ("true", "false")),
    },
}
"""The options of OVN 25.03 by IP version (ovn-nb(5), DHCP_Options), with the form of each. Those that OVN fills in for
each port alone (`offerip`, `ia_addr`) are no user's.
"""
