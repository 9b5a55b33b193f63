"""The table that guards the databases."""

from ipaddress import ip_address

from kube_ovn.host.guard import render_guard
from kube_ovn.model import names

NODES = [ip_address("172.30.0.12"), ip_address("fd00::11"), ip_address("172.30.0.11")]


def test_the_table_is_the_same_whatever_the_order() -> None:
    table = render_guard(NODES)
    assert table == render_guard(NODES[::-1])
    assert table.comment != render_guard(NODES[:1]).comment
    assert "elements = { 172.30.0.11,\n" in table.text
    assert f"table inet {names.GUARD_TABLE} {{" in table.text
