"""Plans: the difference between what should be and what is, as a printable value with a safety brake.

Pure and generic: `diff` compares any two mappings (database rows and memberships, links, addresses, routes, rules) and
does not depend on where they come from or go to. Drivers in `ovsdb/` and `linux/` carry plans out.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_ABSENT = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Generic[K, V]):
    """The changes that turn the actual mapping into the desired one. Empty when the two agree."""

    create: dict[K, V] = field(default_factory=dict)
    update: dict[K, tuple[V, V]] = field(default_factory=dict)  # key -> (actual, desired)
    delete: dict[K, V] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.create or self.update or self.delete)

    def __len__(self) -> int:
        return len(self.create) + len(self.update) + len(self.delete)

    def __iter__(self) -> Iterator[K]:
        """The keys of all changes."""
        yield from self.create
        yield from self.update
        yield from self.delete

    def __contains__(self, key: object) -> bool:
        return key in self.create or key in self.update or key in self.delete

    def without(self, keys: Collection[K]) -> "Plan[K, V]":
        """The part of the plan without these keys."""
        if not keys:
            return self
        return Plan(
            create={key: value for key, value in self.create.items() if key not in keys},
            update={key: values for key, values in self.update.items() if key not in keys},
            delete={key: value for key, value in self.delete.items() if key not in keys},
        )


class AbsurdPlanError(Exception):
    """The guard refuses a plan: it would remove every anchor of the network, which can hardly be meant."""


def diff(desired: Mapping[K, V], actual: Mapping[K, V], keys: Iterable[K] | None = None) -> Plan[K, V]:
    """Compare two mappings; with `keys`, only those keys (all others are known to agree)."""
    plan: Plan[K, V] = Plan()
    for key in dict.fromkeys([*actual, *desired]) if keys is None else dict.fromkeys(keys):
        want, have = desired.get(key, _ABSENT), actual.get(key, _ABSENT)
        if want is have or want == have:
            continue
        if have is _ABSENT:
            plan.create[key] = desired[key]
        elif want is _ABSENT:
            plan.delete[key] = actual[key]
        else:
            plan.update[key] = (actual[key], desired[key])
    return plan


NAMED = 5
"""Anchors that the message of an AbsurdPlanError names, at most."""


def guard(
    plan: Plan[K, V], actual: Mapping[K, V], is_anchor: Callable[[K, V], bool], name: Callable[[K], str] = str
) -> None:
    """Refuse a plan that deletes every anchor there is (two or more), such as the port of each node of the cluster.

    An empty answer from a broken or restored API server must not take the network down. Raises AbsurdPlanError; its
    message names the anchors with `name`.
    """
    doomed = [key for key, value in plan.delete.items() if is_anchor(key, value)]
    if len(doomed) < 2:
        return
    anchors = sum(is_anchor(key, value) for key, value in actual.items())
    if len(doomed) == anchors and not any(is_anchor(key, value) for key, value in plan.create.items()):
        named = ", ".join(sorted(map(name, doomed))[:NAMED])
        more = f" and {len(doomed) - NAMED} more" if len(doomed) > NAMED else ""
        raise AbsurdPlanError(
            f"refusing to delete all {len(doomed)} anchors of the network in one pass: {named}{more}; "
            "is the API server serving an empty or restored database?"
        )
