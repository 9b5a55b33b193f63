"""What the world can refuse. One base class, so that loops retry on it and nothing else."""


class OvsdbError(Exception):
    """The database cannot be reached, does not answer, or refuses."""


class ConflictError(OvsdbError):
    """The transaction was made from rows that have changed since; make it again from what is there now."""


class RejectedError(OvsdbError):
    """The database refuses the transaction as it is: a constraint, a type, a missing table."""


class FencedError(OvsdbError):
    """Another controller has become the leader; nothing was written."""
