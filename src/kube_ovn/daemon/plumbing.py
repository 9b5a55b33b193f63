"""The kernel's part of requests and passes, as plain functions for worker threads.

They block for as long as the kernel's network lock is taken. What is to be there comes from `host/`; the messages are
`linux.links`'.
"""

import asyncio
import errno
import re
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import ParamSpec, TypeVar

from kube_ovn.host.node import LinkKey, Switch
from kube_ovn.host.pod import format_alias
from kube_ovn.linux import links, policy
from kube_ovn.linux.netlink import NetlinkError, Socket, is_own_netns
from kube_ovn.model import names
from kube_ovn.model.addr import Address
from kube_ovn.model.host import (
    Detour,
    DetourEnd,
    DetourRoute,
    DetourRule,
    InterfaceAddress,
    Link,
    PodNetwork,
    Route,
    Sandbox,
)
from kube_ovn.plan import diff

P = ParamSpec("P")
T = TypeVar("T")

_workers = ThreadPoolExecutor(4, "plumbing")


async def run(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run one of the functions below without holding up the others.

    A thread cannot be stopped: who is cancelled meanwhile waits for its end, so that what is done next comes after it.
    """
    work = asyncio.get_running_loop().run_in_executor(_workers, lambda: function(*args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            with suppress(asyncio.CancelledError):  # told again
                await asyncio.wait([work])
        raise


def connect(sandbox: Sandbox, network: PodNetwork, mtu: int) -> None:
    """Make the pair of links and give the Pod's end what it is to have. Raises NetlinkError."""
    with Socket() as root, Socket(sandbox.netns) as pod:
        if is_own_netns(sandbox.netns):
            raise NetlinkError(f"{sandbox.netns} is the node's own network namespace", errno.EINVAL)
        try:
            _create(root, sandbox, network, mtu)
        except NetlinkError as error:
            if error.errno != errno.EEXIST or links.get_link(root, sandbox.link) is None:
                raise
            # Left by a request that was cut off. What is in the Pod's namespace under this name dies with it.
            links.delete_link(root, sandbox.link)
            _create(root, sandbox, network, mtu)
        links.configure_pod(pod, sandbox.interface, network)
        if any(interface.address.version == 6 for interface in network.interfaces):
            _refuse_unusable(pod, sandbox.interface)


def _refuse_unusable(pod: Socket, name: str) -> None:
    """Raise NetlinkError when a Pod could not use an address it has: its containers would start without it."""
    link = links.get_link(pod, name)
    for address, flaw in (links.list_unusable(pod, link.index) if link else {}).items():
        raise NetlinkError(f"address {address}", errno.EADDRNOTAVAIL, flaw)


def _create(root: Socket, sandbox: Sandbox, network: PodNetwork, mtu: int) -> None:
    alias = format_alias(sandbox, network.uid)
    links.create_pod_link(root, sandbox.link, sandbox.netns, sandbox.interface, mtu, network.mac, alias)


def disconnect(link: str) -> None:
    """Remove a Pod's links. Raises NetlinkError, but not for links that are gone."""
    with Socket() as root:
        links.delete_link(root, link)


def compare(sandbox: Sandbox, mac: str, addresses: Iterable[str]) -> list[str]:
    """What differs between a Pod's interface and what it was given. Raises NetlinkError."""
    with Socket(sandbox.netns) as pod:
        link = links.get_link(pod, sandbox.interface)
        if link is None:
            return [f"{sandbox.interface} is missing"]
        present = {str(address) for _, address in links.list_addresses(pod, link.index)}
        unusable = links.list_unusable(pod, link.index)
    differences = [f"address {address} is missing" for address in sorted(set(addresses) - present)]
    differences += [f"address {address} cannot be used: {flaw}" for address, flaw in unusable.items()]
    if not link.up:
        differences.append(f"{sandbox.interface} is down")
    if mac and link.mac != mac:
        differences.append(f"MAC address is {link.mac}, not {mac}")
    return differences


def list_addresses() -> set[Address]:
    """The addresses the node has. Raises NetlinkError."""
    with Socket() as root:
        return {entry.address for _, entry in links.list_addresses(root)}


def list_links() -> list[Link]:
    """The node's links. Raises NetlinkError."""
    with Socket() as root:
        return links.list_links(root)


def pod_mtu(patterns: Collection[str], addresses: Collection[Address], overhead: int) -> int:
    """What a tunnel leaves of the MTU of the first NIC that fits a pattern; without patterns, that has an address.

    Raises NetlinkError.
    """
    with Socket() as root:
        found = links.list_links(root)
        owners = {index for index, entry in links.list_addresses(root) if entry.address in addresses}
    for pattern in patterns:
        fitting = [link for link in found if re.search(pattern, link.name)]
        for link in sorted(fitting, key=lambda link: link.name != pattern):  # a name means itself first
            return link.mtu - overhead
    for link in found:
        if not patterns and link.index in owners:
            return link.mtu - overhead
    wanted = f"named {' or '.join(patterns)}" if patterns else f"with address {' or '.join(map(str, addresses))}"
    raise NetlinkError(f"NIC {wanted}", errno.ENODEV)


def settle(nic: str, desired: dict[LinkKey, Route | None]) -> int | None:
    """Bring a NIC from what it is to what it should be; its index, None while Open vSwitch has not made it.

    Writes nothing when they agree. Raises NetlinkError.
    """
    with Socket() as root:
        link = links.get_link(root, nic)
        if link is None:
            return None
        actual = _observe(root, link)
        plan = diff(desired, actual)
        # Routes first: they would go with their source address.
        links.delete_routes(root, link.index, _routes(plan.delete.values()), names.ROUTE_PROTOCOL)
        for key in plan.delete:
            if isinstance(key, InterfaceAddress):
                links.delete_address(root, link.index, key)
        # Routes last: they need the link up and the address there. An update replaces.
        for key in desired:
            if key in plan.create:
                _add(root, link, key)
        changed = [desired[key] for key in desired if key in plan.create or key in plan.update]
        links.add_routes(root, link.index, _routes(changed), names.ROUTE_PROTOCOL)
        return link.index


def add_detours(desired: Collection[Detour]) -> list[str]:
    """Have these rules and routes of policy routing. What the kernel does not take keeps nobody else's out; it is told
    in sentences. Raises NetlinkError.
    """
    complaints = []
    with Socket() as root:
        # A rule whose table is empty, or no rule, sends packets by the main table: ends first and rules last.
        for detour in sorted(set(desired) - policy.list_detours(root, names.ROUTE_PROTOCOL), key=_rank):
            try:
                policy.add_detour(root, detour, names.ROUTE_PROTOCOL)
            except NetlinkError as error:
                complaints.append(str(error))
    return complaints


def delete_detours(desired: Collection[Detour]) -> None:
    """Have none but these. Raises NetlinkError."""
    with Socket() as root:
        others = policy.list_detours(root, names.ROUTE_PROTOCOL) - set(desired)
        for detour in sorted(others, key=_rank, reverse=True):
            policy.delete_detour(root, detour, names.ROUTE_PROTOCOL)


def _rank(detour: Detour) -> int:
    return (DetourEnd, DetourRoute, DetourRule).index(type(detour))


def _observe(root: Socket, link: Link) -> dict[LinkKey, Route | None]:
    actual: dict[LinkKey, Route | None] = {}
    if link.up:
        actual[Switch.UP] = None
    if links.is_forwarding(link):
        actual[Switch.FORWARDING] = None
    actual.update({address: None for _, address in links.list_addresses(root, link.index)})
    if link.name == names.NODE_NIC:  # all routes of ours lead through it
        actual.update({route.to: route for route in links.list_routes(root, names.ROUTE_PROTOCOL)})
    return actual


def _add(root: Socket, link: Link, key: LinkKey) -> None:
    """A switch or an address."""
    if key is Switch.UP:
        links.set_up(root, link)
    elif key is Switch.FORWARDING:
        links.set_forwarding(root, link)
    elif isinstance(key, InterfaceAddress):
        links.add_address(root, link.index, key)


def _routes(values: Iterable[Route | None]) -> list[Route]:
    return [route for route in values if route is not None]
