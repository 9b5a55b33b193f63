"""The kernel's part of requests: threads that are outlived by who asked, and a kernel that says odd things."""

import asyncio
import threading

import pytest

from kube_ovn.daemon import plumbing
from kube_ovn.linux import netlink
from kube_ovn.linux.netlink import NetlinkError


async def test_who_is_cancelled_waits_for_the_thread() -> None:
    """Else what ADD makes could come after what undoes it."""
    begun, end, done = threading.Event(), threading.Event(), []

    def work() -> None:
        begun.set()
        assert end.wait(5)
        done.append(True)

    task = asyncio.create_task(plumbing.run(work))
    await asyncio.to_thread(begun.wait, 5)
    for _ in range(2):  # a request may end by its deadline and by its caller's leaving
        task.cancel()
        await asyncio.sleep(0.05)
        assert not task.done()
    end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [True]


def test_names_need_not_be_text() -> None:
    assert netlink.text(b"a\xffb\0") == "a\N{REPLACEMENT CHARACTER}b"


def test_a_namespace_that_went_is_the_worlds_doing() -> None:
    with pytest.raises(NetlinkError, match="/run/netns/gone"):
        netlink.is_own_netns("/run/netns/gone")
