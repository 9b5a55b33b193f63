"""The DHCP options that we let through beside OVN's own: northd writes down those it knows, ovn-trace parses values.

ovn-trace logs the action of each flow that it cannot parse, so one run judges all values.
"""

import asyncio
import time

import pytest

from kube_ovn.topology.subnets.options import DHCP_OPTIONS, parse_dhcp_options
from tests.daemon.ovn import Ovn, ovn
from tests.daemon.test_expressions import insert, transact

__all__ = ["ovn"]

DEADLINE = 20.0
TABLES = {4: "DHCP_Options", 6: "DHCPv6_Options"}
NORTHD = {4: {"server_mac"}, 6: {"dhcpv6_stateless"}}
"""Options that northd itself reads."""
FOR_EACH_PORT = {4: {"offerip"}, 6: {"ia_addr"}}
VALUES = (
    "0", "1", "2", "255", "256", "65535", "65536", "4294967295", "4294967296", "07", '"a"', '"a,b.c"', '""', "a",
    "true",
    "10.0.0.1", "{10.0.0.1}", "{10.0.0.1,10.0.0.2}", "{10.0.0.1, 10.0.0.2}", "fd00::1", "{fd00::1,fd00::2}",
    "{10.0.0.0/8,10.0.0.9}", "{10.0.0.0/8,10.0.0.9,0.0.0.0/0,10.0.0.1}", "{10.0.0.0/8}", "0a:00:00:00:00:01", "{1",
)  # fmt: skip
PIPELINE = {"pipeline": "ingress", "table_id": 20, "match": "1"}


async def known(ovn: Ovn, version: int) -> set[str]:
    """The options in the Southbound database; northd writes them when it starts."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        (answer,) = await transact(ovn, [{"op": "select", "table": TABLES[version], "where": [], "columns": ["name"]}])
        if answer["rows"]:
            return {row["name"] for row in answer["rows"]}
        await asyncio.sleep(0.05)
    raise AssertionError("northd wrote no options")


def action(version: int, key: str, value: str) -> str:
    if version == 4:
        return f"reg0[3] = put_dhcp_opts(offerip = 10.0.0.2, {key} = {value}); next;"
    return f"reg0[3] = put_dhcpv6_opts(ia_addr = fd00::2, {key} = {value}); next;"


@pytest.mark.parametrize("version", [4, 6])
async def test_ovn_knows_and_parses_what_is_let_through(ovn: Ovn, version: int) -> None:
    ovn.nbctl("init")
    ovn.start_northd()
    assert DHCP_OPTIONS[version].keys() - NORTHD[version] == await known(ovn, version) - FOR_EACH_PORT[version]
    ovn.kill("northd")

    options = sorted(DHCP_OPTIONS[version].keys() - NORTHD[version])
    taken = [
        action(version, key, value)
        for key in options
        for value in VALUES
        if parse_dhcp_options(f"{key}={value}", version)[0]
    ]
    assert all(any(f" {key} = " in each for each in taken) for key in options), "each has a value that is taken"
    log = await trace(ovn, [*taken, action(version, "dns_server", "a")])
    assert "dns_server = a" in log, "what is wrong is found"
    assert [each for each in taken if each in log] == []


async def trace(ovn: Ovn, actions: list[str]) -> str:
    """The complaints of ovn-trace about flows with these actions."""
    cleared = {"op": "delete", "table": "Logical_Flow", "where": []}
    datapath = insert("Datapath_Binding", tunnel_key=1, external_ids=["map", [["name", "probe"]]])
    where = (await transact(ovn, [cleared, datapath]))[-1]["uuid"]
    rows = [insert("Port_Binding", datapath=where, logical_port="p", tunnel_key=1)]
    rows += [
        insert("Logical_Flow", logical_datapath=where, actions=each, priority=number, **PIPELINE)
        for number, each in enumerate(actions)
    ]
    await transact(ovn, rows)
    log = ovn.folder / "trace.log"
    ovn.run("ovn-trace", f"--db={ovn.endpoint('sb')}", f"--log-file={log}", "-vconsole:off", "probe", 'inport == "p"')
    return log.read_text()
