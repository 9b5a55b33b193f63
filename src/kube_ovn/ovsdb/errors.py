"""The errors of a database session. They have one base class, so that loops retry on it and on nothing else."""

from collections.abc import Mapping, Sequence

from kube_ovn.model.row import Key

LONGEST_NAME = 100
"""Characters of a row's key that a message shows."""


class OvsdbError(Exception):
    """The database cannot be reached, does not answer, or refuses."""


class SessionEndedError(OvsdbError):
    """The server ended the connection while a request was under way, perhaps because of it. The next session shows
    whether the request was carried out. A request without an answer in time raises plain OvsdbError instead.
    """


class UnableError(OvsdbError):
    """The database can write nothing at present: its disk, its cluster or our rights do not allow any transaction."""


class ConflictError(OvsdbError):
    """The transaction was made from rows that have changed since; make it again from the rows of now."""


class RejectedError(OvsdbError):
    """The database refuses the transaction for its content: a constraint, a type, a missing table.

    `keys` are the keys of the plan among which the fault is; empty when the database does not name a row.
    """

    def __init__(self, message: str, keys: Sequence[Key] = ()) -> None:
        super().__init__(message)
        self.keys = tuple(keys)


class UnsendableError(RejectedError):
    """The transaction has values that no database can hold, so nothing was sent. `faults`: by key, what is wrong."""

    def __init__(self, faults: Mapping[Key, str]) -> None:
        self.faults = {key: f"{key.table} {_printable(key.key)}: {fault}" for key, fault in faults.items()}
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        super().__init__(next(iter(self.faults.values())) + more, tuple(faults))


class FencedError(OvsdbError):
    """Another controller has become the leader; nothing was written."""


def _printable(name: str) -> str:
    """A name as a message may show it: the fault may be a character of the name itself."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in name[:LONGEST_NAME])
