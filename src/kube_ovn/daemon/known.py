"""What this node makes of watched objects, by UID: whether a look at one of them brought anything new."""

from typing import TypeVar

V = TypeVar("V")


def replace(known: dict[str, V], uid: str, now: V | None) -> bool:
    """Set what is made of an object, or forget it when that is nothing; whether it was something else before."""
    before = known.get(uid)
    if now == before:
        return False
    if now is None:
        del known[uid]
    else:
        known[uid] = now
    return True
