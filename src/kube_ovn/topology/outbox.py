"""What passes decide besides rows: writes to the Kubernetes API and problems to be told, with what changed of them."""

from collections.abc import Callable

from kube_ovn.model.network import Notice, Problem
from kube_ovn.model.writes import Aspect, Write, WriteKey


class Outbox:
    """Writes by key and problems by UID, replaced one by one."""

    def __init__(self) -> None:
        self.writes: dict[WriteKey, Write] = {}
        self.problems: dict[str, Problem] = {}
        self._changed: set[WriteKey] = set()
        self._notices: list[Notice] = []

    def put(self, key: WriteKey, write: Write | None) -> None:
        """What is to be written now; None: nothing (any more). Call it with news only: an equal write is sent again,
        because somebody may have undone the first.
        """
        if write is None:
            if self.writes.pop(key, None) is not None:
                self._changed.add(key)
        else:
            self.writes[key] = write
            self._changed.add(key)

    def tell(self, uid: str, problem: Problem | None) -> None:
        """What is wrong with an object now; None: nothing."""
        if problem is None:
            self.problems.pop(uid, None)
        else:
            self.problems[uid] = problem

    def announce(self, notice: Notice) -> None:
        """Tell an object's user once."""
        self._notices.append(notice)

    def take_notices(self) -> list[Notice]:
        notices, self._notices = self._notices, []
        return notices

    def forget(self, uid: str) -> None:
        """The object is gone."""
        self.tell(uid, None)
        for aspect in Aspect:
            self.put(WriteKey(uid, aspect), None)

    def keep(self, there: Callable[[str], bool]) -> None:
        """Forget whatever is about objects that are not there any more."""
        uids = {*self.problems, *(write.object.uid for write in self.writes.values())}
        for uid in uids:
            if uid and not there(uid):
                self.forget(uid)

    def take_changed(self) -> dict[WriteKey, Write | None]:
        """Writes that came or changed since the last call; None for those that went."""
        changed, self._changed = self._changed, set()
        return {key: self.writes.get(key) for key in changed}
