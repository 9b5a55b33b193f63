"""The kernel's part of requests and passes, as plain functions for worker threads.

They block for as long as the kernel's lock of the network configuration is taken. `host/` decides what is to be there;
`linux.links` and `linux.policy` make the messages.
"""

import asyncio
import errno
import re
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import ParamSpec, TypeVar

from kube_ovn.host.node import LinkKey
from kube_ovn.host.pod import format_alias
from kube_ovn.host.sysctl import IPV6_FORWARDING, render_ipv4, render_ipv6
from kube_ovn.linux import links, policy, sysctl
from kube_ovn.linux.neighbours import tell_neighbours
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
    Surroundings,
    Way,
)
from kube_ovn.plan import diff
from kube_ovn.reconcile import Underway

P = ParamSpec("P")
T = TypeVar("T")

_workers = ThreadPoolExecutor(4, "plumbing")
underway = Underway()
"""The calls that wait for a worker thread or for the kernel."""


async def run(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run one of the functions below in a worker thread, while other tasks go on.

    A thread cannot be stopped. A task that is cancelled meanwhile ends only after the thread, so that what is done next
    comes after it.
    """
    with underway.watch(f"{function.__name__} in the kernel"):
        work = asyncio.get_running_loop().run_in_executor(_workers, lambda: function(*args, **kwargs))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            while not work.done():
                with suppress(asyncio.CancelledError):  # cancelled again
                    await asyncio.wait([work])
            raise


def connect(sandbox: Sandbox, network: PodNetwork, mtu: int, *, hears_routers: bool = False) -> None:
    """Make the pair of links of a sandbox and configure the Pod's end. `mtu`: bytes. `hears_routers`: whether the Pod
    takes router advertisements, which other Pods of its subnet may forge. Raises NetlinkError.
    """
    with Socket() as root, Socket(sandbox.netns) as pod:
        if is_own_netns(sandbox.netns):
            raise NetlinkError(f"{sandbox.netns} is the node's own network namespace", errno.EINVAL)
        try:
            _create(root, sandbox, network, mtu)
        except NetlinkError as error:
            if error.errno != errno.EEXIST or links.get_link(root, sandbox.link) is None:
                raise
            # The link was left by a request that was cut off. Its other end, in the Pod's namespace, dies with it.
            links.delete_link(root, sandbox.link)
            _create(root, sandbox, network, mtu)
        if not hears_routers:
            sysctl.ignore_routers(sandbox.netns, sandbox.interface)
        links.configure_pod(pod, sandbox.interface, network)
        if any(interface.address.version == 6 for interface in network.interfaces):
            _refuse_unusable(pod, sandbox.interface)


def _refuse_unusable(pod: Socket, name: str) -> None:
    """Raise NetlinkError when a Pod cannot use one of its addresses: its containers would start without it."""
    link = links.get_link(pod, name)
    for address, flaw in (links.list_unusable(pod, link.index) if link else {}).items():
        raise NetlinkError(f"address {address}", errno.EADDRNOTAVAIL, flaw)


def _create(root: Socket, sandbox: Sandbox, network: PodNetwork, mtu: int) -> None:
    alias = format_alias(sandbox, network.uid)
    links.create_pod_link(root, sandbox.link, sandbox.netns, sandbox.interface, mtu, network.mac, alias)


def announce(sandbox: Sandbox, network: PodNetwork) -> None:
    """Tell the neighbours of a Pod its addresses. Raises NetlinkError."""
    addresses = [interface.address for interface in network.interfaces]
    try:
        tell_neighbours(sandbox.netns, sandbox.interface, network.mac, addresses)
    except OSError as error:
        raise NetlinkError(f"announcement of {sandbox.interface}", error.errno or 0) from None


def disconnect(link: str) -> None:
    """Remove the links of a Pod. Links that are gone are no error. Raises NetlinkError."""
    with Socket() as root:
        links.delete_link(root, link)


def compare(sandbox: Sandbox, mac: str, addresses: Iterable[str]) -> list[str]:
    """The differences between a Pod's interface and the MAC address (empty: any) and the addresses with prefix lengths
    that it was given, in words. Raises NetlinkError.
    """
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
    """The addresses of the node. Raises NetlinkError."""
    with Socket() as root:
        return {entry.address for _, entry in links.list_addresses(root)}


def look_around() -> Surroundings:
    """The addresses of the node, the networks that its links lead to, and the routers on the way. Raises
    NetlinkError.
    """
    with Socket() as root:
        return links.look_around(root)


def apply_sysctls(versions: Collection[int], nics: Collection[str], ways: Collection[Way]) -> list[str]:
    """Write the settings of the kernel that a node with these IP families and these NICs of its own lacks, and nothing
    else. Returns a sentence on the first setting of each family that is refused.
    """
    families = [render_ipv4(nics, ways)] if 4 in versions else []
    families += [render_ipv6(ways, is_forwarding=sysctl.is_right(IPV6_FORWARDING))] if 6 in versions else []
    return [complaint for family in families if (complaint := sysctl.apply(family))]


def list_links() -> list[Link]:
    """The links of the node. Raises NetlinkError."""
    with Socket() as root:
        return links.list_links(root)


def pod_mtu(patterns: Collection[str], addresses: Collection[Address], overhead: int) -> int:
    """The bytes that a tunnel leaves of the MTU of a NIC: of the first that matches a pattern, or, without patterns, of
    the first that has one of the addresses. `overhead`: the bytes that the tunnel takes. Raises NetlinkError.
    """
    with Socket() as root:
        found = links.list_links(root)
        owners = {index for index, entry in links.list_addresses(root) if entry.address in addresses}
    for pattern in patterns:
        fitting = [link for link in found if re.search(pattern, link.name)]
        for link in sorted(fitting, key=lambda link: link.name != pattern):  # the name itself before what contains it
            return link.mtu - overhead
    for link in found:
        if not patterns and link.index in owners:
            return link.mtu - overhead
    wanted = f"named {' or '.join(patterns)}" if patterns else f"with address {' or '.join(map(str, addresses))}"
    raise NetlinkError(f"NIC {wanted}", errno.ENODEV)


def apply(nic: str, desired: dict[LinkKey, Route | None]) -> int | None:
    """Set a NIC up and bring it to its desired state, and write nothing when it has that. Returns the index of the NIC;
    None while Open vSwitch has not made it. Raises NetlinkError.
    """
    with Socket() as root:
        link = links.get_link(root, nic)
        if link is None:
            return None
        actual = _observe(root, link)
        plan = diff(desired, actual)
        # Routes are deleted first: the kernel would delete them together with their source address.
        links.delete_routes(root, link.index, _routes(plan.delete.values()), names.ROUTE_PROTOCOL)
        for key in plan.delete:
            if isinstance(key, InterfaceAddress):
                links.delete_address(root, link.index, key)
        if not link.up:
            links.set_up(root, link)
        for key in desired:
            if key in plan.create and isinstance(key, InterfaceAddress):
                links.add_address(root, link.index, key)
        # Routes are added last: they need the link to be up and to have the address. A route that is not kube-ovn's
        # stays: the node's own way to a network wins.
        created, updated = ([desired[key] for key in desired if key in some] for some in (plan.create, plan.update))
        links.add_routes(root, link.index, _routes(created), names.ROUTE_PROTOCOL)
        links.replace_routes(root, link.index, _routes(updated), names.ROUTE_PROTOCOL)
        return link.index


def add_detours(desired: Collection[Detour]) -> list[str]:
    """Add those of these rules and routes of policy routing that are missing. One that the kernel refuses keeps no
    other one out; a sentence on each is returned. Raises NetlinkError.
    """
    complaints = []
    with Socket() as root:
        # Without a rule, or with an empty table behind it, packets go by the main table: ends first and rules last.
        for detour in sorted(set(desired) - policy.list_detours(root, names.ROUTE_PROTOCOL), key=_rank):
            try:
                policy.add_detour(root, detour, names.ROUTE_PROTOCOL)
            except NetlinkError as error:
                complaints.append(str(error))
    return complaints


def delete_detours(desired: Collection[Detour]) -> None:
    """Delete kube-ovn's rules and routes of policy routing, except these. Raises NetlinkError."""
    with Socket() as root:
        others = policy.list_detours(root, names.ROUTE_PROTOCOL) - set(desired)
        for detour in sorted(others, key=_rank, reverse=True):
            policy.delete_detour(root, detour, names.ROUTE_PROTOCOL)


def _rank(detour: Detour) -> int:
    return (DetourEnd, DetourRoute, DetourRule).index(type(detour))


def _observe(root: Socket, link: Link) -> dict[LinkKey, Route | None]:
    actual: dict[LinkKey, Route | None] = {address: None for _, address in links.list_addresses(root, link.index)}
    if link.name == names.NODE_NIC:  # all routes of kube-ovn lead through it
        actual.update({route.to: route for route in links.list_routes(root, names.ROUTE_PROTOCOL)})
    return actual


def _routes(values: Iterable[Route | None]) -> list[Route]:
    return [route for route in values if route is not None]
