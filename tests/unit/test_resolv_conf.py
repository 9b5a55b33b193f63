"""The node's own resolvers, as resolv.conf(5) names them."""

from ipaddress import ip_address

from kube_ovn.host.resolv_conf import parse_resolvers, to_address


def test_resolvers_are_read_in_order_and_what_is_no_address_is_left_out() -> None:
    text = """
search a b
# nameserver 192.0.2.1
nameserver\t192.0.2.53
nameserver fe80::1%eth0   # the router
nameserver
nameserver x
 nameserver 127.0.0.53
"""
    assert parse_resolvers(text) == ("192.0.2.53", "fe80::1%eth0", "127.0.0.53")


def test_the_address_of_a_resolver_has_no_zone() -> None:
    assert to_address("fe80::1%eth0") == ip_address("fe80::1")
    assert to_address("api.example") is None
