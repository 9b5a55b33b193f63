"""Ports in a real Open vSwitch database: what it refuses harms only its own Pod, and a removal is owed until done."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kube_ovn.daemon.ports import PortError, Ports
from kube_ovn.host.pod import render_sandbox
from kube_ovn.model.host import PodNetwork, Sandbox
from kube_ovn.model.row import State
from kube_ovn.model.vswitch import TABLES
from kube_ovn.ovsdb.client import Client
from tests.daemon.ovn import DEADLINE, Ovn, ovn

__all__ = ["ovn"]

NETWORK = PodNetwork(uid="u", mac="0a:00:00:00:00:01", interfaces=(), gateways=(), routes=())


def sandbox(number: int) -> Sandbox:
    container = f"{number}" * 64
    return Sandbox(container=container, interface="eth0", netns="/x", namespace="d", pod=f"p{number}", uid="u")


def rows(number: int) -> State:
    return render_sandbox(sandbox(number), NETWORK)


def vsctl(daemons: Ovn, *words: str) -> str:
    return daemons.run("ovs-vsctl", "--no-wait", f"--db={daemons.endpoint('vswitch')}", *words)


@asynccontextmanager
async def running(daemons: Ovn) -> AsyncIterator[Ports]:
    vsctl(daemons, "add-br", "br-int")
    client = Client((daemons.endpoint("vswitch"),), "Open_vSwitch", TABLES, on_change=lambda: ports.notify())
    ports = Ports(client)
    tasks = [asyncio.create_task(client.run()), asyncio.create_task(ports.run())]
    try:
        await client.synced(DEADLINE)
        async with asyncio.timeout(DEADLINE):
            yield ports
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_removal_that_is_refused_holds_up_nobody_and_is_owed(ovn: Ovn) -> None:
    async with running(ovn) as ports:
        one, other = sandbox(1).link, sandbox(2).link
        await ports.put(one, rows(1))
        ports.take_changed_links()
        vsctl(ovn, "clear", "Port", one, "external_ids")  # not ours any more, but its interface is
        await _heard(ports)
        removal = asyncio.create_task(ports.drop([one]))
        await asyncio.sleep(0)  # it is asked for before the others are
        await ports.put(other, rows(2))
        await ports.drop([other])
        assert not removal.done()
        vsctl(ovn, "del-port", one)
        await removal
        assert vsctl(ovn, "list-ports", "br-int") == ""


async def test_a_port_that_is_refused_is_told_to_its_author_alone(ovn: Ovn) -> None:
    async with running(ovn) as ports:
        taken = sandbox(1).link
        vsctl(ovn, "add-port", "br-int", taken)
        outcomes = await asyncio.gather(
            ports.put(taken, rows(1)),
            *(ports.put(sandbox(number).link, rows(number)) for number in (2, 3)),
            return_exceptions=True,
        )
        assert isinstance(outcomes[0], PortError)
        assert outcomes[1:] == [None, None]
        assert vsctl(ovn, "get", "Port", taken, "external_ids").strip() == "{}"


async def test_who_asks_no_more_gets_no_port(ovn: Ovn) -> None:
    async with running(ovn) as ports:
        ovn.pause("vswitch")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await ports.put(sandbox(1).link, rows(1))
        await asyncio.wait_for(_replaced(ports), 1)
        ovn.resume("vswitch")
        await ports.drop([sandbox(1).link, sandbox(2).link])
        assert vsctl(ovn, "list-ports", "br-int") == ""


async def _heard(ports: Ports) -> None:
    while True:
        if ports.take_changed_links():
            return
        await asyncio.sleep(0.01)


async def _replaced(ports: Ports) -> None:
    """A newer wish for a link leaves the author of the older one nothing to wait for."""
    older = asyncio.create_task(ports.put(sandbox(2).link, rows(2)))
    await asyncio.sleep(0)
    newer = asyncio.create_task(ports.drop([sandbox(2).link]))
    await older
    newer.cancel()
