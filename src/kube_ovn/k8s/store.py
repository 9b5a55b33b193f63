"""Stores: the objects of one kind as the API server sent them, and the names of those that changed.

The meaning of objects is decided elsewhere. Objects enter and leave by UID: one that is deleted and made again under
its name is two objects, and the old one leaves before the new one enters. An object that cannot be read stays as it was
known.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Generic, TypeVar

from kube_ovn.k8s.decode import Unreadable
from kube_ovn.model.kube import Object

T = TypeVar("T", bound=Object)

MOST_CHANGES = 1000
"""Changes that a Store remembers, or as many as it has objects; after more of them any object may have changed."""


class Store(Generic[T]):
    """Objects of one kind, by UID."""

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self._objects: dict[str, T] = {}
        self._uids: dict[tuple[str, str], str] = {}
        self._changed: set[tuple[str, str]] | None = None
        self._on_change = on_change
        self.objects: Mapping[str, T] = MappingProxyType(self._objects)
        self.unreadable: dict[tuple[str, str], Unreadable] = {}
        """Objects that cannot be read now, by Namespace and name."""
        self.never_read: set[tuple[str, str]] = set()
        """Those of them that were in the first list: an earlier process may have known them as they were before."""
        self.version = ""
        """The version up to which the server has sent all changes."""
        self.synced = asyncio.Event()
        """Set after the first full list, or when it is clear that there is none, for good."""
        self.proved: float | None = None
        """Loop time of the newest proof that the objects are current: a list, an event, a bookmark, a watch's regular
        end.

        On a quiet cluster that may be minutes ago: too long for a new leader, which calls `renew`.
        """
        self.unavailable = ""
        """Why the server serves no objects of this kind, in its own words, or "". Known objects stay known."""
        self.unavailable_since = 0.0
        """Loop time at which the server refused first."""
        self.absent = False
        """Whether the server says that there is no such kind."""
        self._listed = self._renewal = -math.inf  # loop times: of the request of the last list; of the last `renew`
        self._relisted = asyncio.Event()
        self._watching: asyncio.Timeout | None = None

    def named(self, namespace: str, name: str) -> T | None:
        """The object that has this name now."""
        uid = self._uids.get((namespace, name))
        return None if uid is None else self._objects[uid]

    def take_changed_names(self) -> set[tuple[str, str]] | None:
        """Namespaces and names of objects that entered, changed or left since the last call; None when any may have: at
        first, and when more than MOST_CHANGES did. An object that changed and changed back is among them.
        """
        changed, self._changed = self._changed, set()
        return changed

    async def renew(self) -> None:
        """Wait for a new list: afterwards no object here is older than this call, or `unavailable` says why there is no
        list. Waits for ever if the server does not answer, so set a timeout.
        """
        self._renewal = asked = asyncio.get_running_loop().time()
        if self._watching is not None:
            self._watching.reschedule(asked)
        while self._listed < asked:
            self._relisted.clear()
            await self._relisted.wait()

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """The time between two lists: ends with TimeoutError as soon as `renew` asks for another list."""
        try:
            async with asyncio.timeout_at(self._renewal if self._renewal > self._listed else None) as self._watching:
                yield
        finally:
            self._watching = None

    def put(self, item: T) -> None:
        """Take over an object. An equal one is dropped, so that identity means: nothing that we read has changed."""
        metadata = item.metadata
        key = (metadata.namespace, metadata.name)
        self.unreadable.pop(key, None)
        self._forget_unread(key)
        if self._objects.get(metadata.uid) == item:
            return
        self._make_way(key, metadata.uid)
        self._objects[metadata.uid] = item
        self._uids[key] = metadata.uid
        self._tell(key)

    def put_unreadable(self, item: Unreadable) -> bool:
        """Take over that an object cannot be read. Returns whether that, or the reason, is news. The object stays as it
        was known.
        """
        key = (item.namespace, item.name)
        before = self.unreadable.get(key)
        self.unreadable[key] = item
        if item.uid:
            self._make_way(key, item.uid)
        return before is None or (before.uid, before.error) != (item.uid, item.error)

    def anticipate(self, item: T, version: str) -> None:
        """Take over the object that the server answered to a write, before the watch sends it; dropped when the watch
        is past this version already.

        Versions of one kind are comparable numbers (KEP-5504).
        """
        if len(version) > len(self.version) or (len(version) == len(self.version) and version > self.version):
            self.put(item)

    def remove(self, uid: str, namespace: str = "", name: str = "") -> None:
        """Remove an object; an unknown one is no error. The name is needed for an object that was never read."""
        unread = self.unreadable.get((namespace, name))
        if unread is not None and unread.uid in ("", uid):
            del self.unreadable[namespace, name]
            self._forget_unread((namespace, name))
        item = self._objects.pop(uid, None)
        if item is None:
            return
        key = (item.metadata.namespace, item.metadata.name)
        if self._uids.get(key) == uid:
            del self._uids[key]
        self._tell(key)

    def replace(self, items: Iterable[T], asked: float, unreadable: Iterable[Unreadable] = ()) -> list[Unreadable]:
        """Take over a full list of the objects, requested at the loop time `asked`. Objects that cannot be read stay as
        they were known. Returns those of them for which that, or the reason, is news.
        """
        self.proved, self.unavailable, self.absent = asked, "", False
        listed = {item.metadata.uid: item for item in items}
        unread = {(each.namespace, each.name): each for each in unreadable}
        kept = {each.uid or self._uids.get(key, "") for key, each in unread.items()}
        for uid in [uid for uid in self._objects if uid not in listed and uid not in kept]:
            self.remove(uid)
        for key in [key for key in self.unreadable if key not in unread]:
            del self.unreadable[key]
            self._forget_unread(key)
        for item in listed.values():
            self.put(item)
        news = [each for each in unread.values() if self.put_unreadable(each)]
        self._finish_list(asked)
        if not self.synced.is_set():
            self.never_read.update(unread)
            self.synced.set()
            self._on_change()
        return news

    def refuse(self, reason: str, asked: float, *, absent: bool = False) -> bool:
        """Take over that the server, asked at this loop time, serves no objects of this kind. `absent`: it says that
        there is no such kind. Returns whether the refusal is news.
        """
        news, self.unavailable = not self.unavailable, reason
        if news:
            self.unavailable_since = asked
        if absent != self.absent:
            self.absent = absent
            self._on_change()
        self._finish_list(asked)
        return news

    def do_without(self) -> None:
        """Take over that there are no objects of this kind as long as the server serves none. Known ones stay known."""
        if not self.synced.is_set():
            self.synced.set()
            self._on_change()

    def _finish_list(self, asked: float) -> None:
        self._listed = asked
        self._relisted.set()

    def _forget_unread(self, key: tuple[str, str]) -> None:
        """An object can be read now, or is gone."""
        if key in self.never_read:
            self.never_read.discard(key)
            self._on_change()

    def _make_way(self, key: tuple[str, str], uid: str) -> None:
        """Remove another object that had this name."""
        before = self._uids.get(key)
        if before is not None and before != uid:
            self.remove(before)

    def _tell(self, key: tuple[str, str]) -> None:
        if self._changed is not None:
            self._changed.add(key)
            if len(self._changed) > max(MOST_CHANGES, len(self._objects)):
                self._changed = None
        self._on_change()
