"""Stores: identity, names that pass from one object to the next, who waits."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import cast

import pytest

from kube_ovn.k8s.client import Client, KubeError, Listing
from kube_ovn.k8s.decode import Unreadable
from kube_ovn.k8s.store import MOST_CHANGES, Store
from kube_ovn.k8s.watch import follow
from kube_ovn.model.kube import ObjectMeta, Pod, PodStatus
from kube_ovn.model.resource import PODS


def pod(uid: str, name: str = "a", phase: str = "") -> Pod:
    return Pod(metadata=ObjectMeta(name=name, namespace="n", uid=uid), status=PodStatus(phase=phase))


def test_an_equal_object_changes_nothing() -> None:
    marks: list[int] = []
    store: Store[Pod] = Store(lambda: marks.append(1))
    assert store.take_changed_names() is None, "at first any may have changed"
    first = pod("u")
    store.put(first)
    assert store.take_changed_names() == {("n", "a")}
    store.put(pod("u"))
    assert store.objects["u"] is first
    assert store.take_changed_names() == set()
    assert len(marks) == 1


def test_a_name_passes_to_its_next_owner() -> None:
    history: list[list[str]] = []
    store: Store[Pod] = Store(lambda: history.append(sorted(store.objects)))
    store.take_changed_names()
    store.put(pod("old"))
    store.put(pod("new"))
    assert history == [["old"], [], ["new"]], "the old one leaves before the new one enters"
    assert store.take_changed_names() == {("n", "a")}
    store.remove("old")
    found = store.named("n", "a")
    assert found is not None
    assert found.metadata.uid == "new", "a late deletion of the old one must not touch the new one"


def test_a_list_removes_what_vanished() -> None:
    store: Store[Pod] = Store()
    store.replace([pod("u"), pod("v", "b")], 0.0)
    assert store.synced.is_set()
    store.take_changed_names()
    store.replace([pod("v", "b"), pod("w", "a")], 0.0)
    assert set(store.objects) == {"v", "w"}
    assert store.take_changed_names() == {("n", "a")}
    assert store.named("n", "gone") is None


def test_an_empty_first_list_is_told() -> None:
    marks: list[int] = []
    store: Store[Pod] = Store(lambda: marks.append(1))
    store.replace([], 0.0)
    store.replace([], 0.0)
    assert len(marks) == 1


def test_what_nobody_asks_for_is_not_remembered_for_ever() -> None:
    store: Store[Pod] = Store()
    store.take_changed_names()
    for number in range(MOST_CHANGES + 1):
        store.put(pod(f"u{number}", f"a{number}"))
        store.remove(f"u{number}")
    assert store.take_changed_names() is None
    store.put(pod("v"))
    assert store.take_changed_names() == {("n", "a")}


async def test_to_renew_is_to_wait_for_a_list_that_was_asked_for_later() -> None:
    store: Store[Pod] = Store()
    now = asyncio.get_running_loop().time()
    store.replace([], now - 1)
    renewing = asyncio.create_task(store.renew())

    async def watch() -> None:
        async with store.watching():
            await asyncio.sleep(0)
            store.replace([pod("old")], now - 1)  # was under way already
            await asyncio.sleep(1)

    for _ in range(2):  # the watch under way ends, and no other may begin before the list
        with pytest.raises(TimeoutError):
            await watch()
        assert not renewing.done()
    store.replace([pod("new")], asyncio.get_running_loop().time())
    await asyncio.wait_for(renewing, 1)
    async with store.watching():
        await asyncio.sleep(0.01)


def test_names_that_changed() -> None:
    store: Store[Pod] = Store()
    assert store.take_changed_names() is None, "at first any may have changed"
    store.put(pod("u"))
    store.put(pod("v", "b"))
    assert store.take_changed_names() == {("n", "a"), ("n", "b")}
    store.put(pod("v", "b"))
    assert store.take_changed_names() == set(), "equal to what it was"
    store.put(pod("w"))
    store.remove("v")
    assert store.take_changed_names() == {("n", "a"), ("n", "b")}


def test_what_changed_and_changed_back_is_among_the_names() -> None:
    store: Store[Pod] = Store()
    store.put(pod("u", phase="x"))
    store.take_changed_names()
    store.put(pod("u", phase="y"))
    store.put(pod("u", phase="x"))
    assert store.take_changed_names() == {("n", "a")}
    store.remove("u")
    store.put(pod("u", phase="x"))
    assert store.take_changed_names() == {("n", "a")}


def test_what_was_never_read_is_known_until_it_can_be_read_or_is_gone() -> None:
    changes: list[int] = []
    store = Store[Pod](lambda: changes.append(1))
    store.replace([], asked=0.0, unreadable=[unreadable("u", "a"), unreadable("v", "b")])
    store.put_unreadable(unreadable("w", "c"))
    assert store.never_read == {("n", "a"), ("n", "b")}, "no process knew c as it was before"
    del changes[:]
    store.remove("u", "n", "a")
    assert (store.never_read, len(changes)) == ({("n", "b")}, 1)
    store.replace([], asked=1.0)
    assert (store.never_read, len(changes)) == (set(), 2)


def unreadable(uid: str, name: str = "a", error: str = "bad") -> Unreadable:
    return Unreadable("1", "n", name, uid, error)


def test_what_cannot_be_read_stays_as_it_was_known() -> None:
    store: Store[Pod] = Store()
    known = pod("u")
    store.put(known)
    assert store.put_unreadable(unreadable("u"))
    assert not store.put_unreadable(unreadable("u")), "told once"
    assert store.put_unreadable(unreadable("u", error="worse"))
    assert store.named("n", "a") is known
    store.put(pod("u", phase="mended"))
    assert store.unreadable == {}
    assert store.objects["u"].status.phase == "mended"


def test_a_namesake_that_cannot_be_read_is_another_object() -> None:
    store: Store[Pod] = Store()
    store.put(pod("old"))
    store.put_unreadable(unreadable("new"))
    assert dict(store.objects) == {}, "the old one is gone for certain"
    store.remove("new", "n", "a")
    assert store.unreadable == {}


def test_a_list_keeps_what_it_cannot_read_and_forgets_what_is_gone() -> None:
    store: Store[Pod] = Store()
    store.replace([pod("u"), pod("v", "b"), pod("w", "c")], 0.0)
    found = [unreadable("u"), unreadable("", "b")]
    assert store.replace([], 1.0, found) == found
    assert set(store.objects) == {"u", "v"}, "by UID, or by name where there is no UID"
    assert store.replace([], 2.0, found) == []
    assert store.replace([pod("u")], 3.0) == []
    assert (set(store.objects), store.unreadable) == ({"u"}, {})


async def test_to_renew_ends_when_there_is_nothing_to_be_listed() -> None:
    store: Store[Pod] = Store()
    store.put(pod("u"))
    renewing = asyncio.create_task(store.renew())
    await asyncio.sleep(0)
    assert store.refuse("forbidden", asyncio.get_running_loop().time())
    await asyncio.wait_for(renewing, 1)
    assert not store.refuse("forbidden", asyncio.get_running_loop().time()), "told once"
    assert (set(store.objects), store.unavailable, store.synced.is_set()) == ({"u"}, "forbidden", False)
    store.replace([], asyncio.get_running_loop().time())
    assert (set(store.objects), store.unavailable, store.synced.is_set()) == (set(), "", True)


class RefusesOnce:
    """An API server whose rights come late: it lists, refuses the first watch, and has no events on the second."""

    def __init__(self) -> None:
        self.refused, self.open = False, asyncio.Event()

    async def list(self, kind: object, **_: object) -> Listing[Pod]:
        return Listing(items=[], version="5", unreadable=[])

    async def lacks(self, kind: object) -> bool:
        return False

    async def watch(self, *_: object, opened: Callable[[], None], **__: object) -> AsyncIterator[object]:
        if not self.refused:
            self.refused = True
            raise KubeError(403, "Forbidden", "not yet")
        opened()
        self.open.set()
        await asyncio.sleep(100)
        yield None


async def test_a_quiet_kind_is_available_when_its_watch_is_open() -> None:
    store, client = Store[Pod](), RefusesOnce()
    following = asyncio.create_task(follow(cast(Client, client), PODS, store))
    async with asyncio.timeout(10):
        await client.open.wait()
    assert client.refused
    assert store.unavailable == ""
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


class Forbids:
    """An API server that forbids each list, and says whether it has the kind."""

    def __init__(self) -> None:
        self.lacking = True

    async def list(self, kind: object, **_: object) -> Listing[Pod]:
        raise KubeError(403, "Forbidden", "no")

    async def lacks(self, kind: object) -> bool:
        return self.lacking


async def test_a_kind_that_is_not_there_differs_from_one_that_is_forbidden() -> None:
    changed = asyncio.Event()
    store, client = Store[Pod](changed.set), Forbids()
    following = asyncio.create_task(follow(cast(Client, client), PODS, store))
    async with asyncio.timeout(10):
        await changed.wait()
        assert (store.absent, store.unavailable, store.synced.is_set()) == (True, "no", False)
        changed.clear()
        client.lacking = False
        await changed.wait()
    assert (store.absent, store.unavailable, store.synced.is_set()) == (False, "no", False)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
