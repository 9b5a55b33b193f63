"""The step `allocate`, which grants requests. It runs after subnets and requests are decided.

A request that cannot be met waits in a line (`addresses.waiting`). When something becomes free, only the lines that
need it are tried, each until its first request cannot be met.
"""

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from typing import Any

from kube_ovn.derive import Graph, Index, News, Source
from kube_ovn.model import names
from kube_ovn.model.network import Grant, Subnet
from kube_ovn.topology.addresses.ask import Ask, Asked, Keep, Want
from kube_ovn.topology.addresses.grants import Grants, Pools, Refusal
from kube_ovn.topology.addresses.ledger import ExhaustedError, Ledger, Need, RefusedError
from kube_ovn.topology.addresses.recall import Recall
from kube_ovn.topology.addresses.registry import Registry
from kube_ovn.topology.addresses.span import Owner
from kube_ovn.topology.addresses.waiting import Line, Waiting


class Allocation:
    """The requests of holders, and the lines in which some of them wait."""

    def __init__(self, grants: Grants, registry: Registry, recall: Recall) -> None:
        self._grants, self._registry, self._recall = grants, registry, recall
        self._ledger = registry.ledger
        self._waiting = Waiting()
        self._requests: dict[tuple[str, str], str] = {}  # record of each request, by its derivation and key
        self._next: set[str] = set()  # records of holders that are next for an address which is about to be free
        self._unsaid: set[str] = set()  # records with a refusal that is to be put into the collection or dropped

    def define(
        self,
        graph: Graph,
        effective: Source[str, Subnet],
        pools: Source[str, Pools],
        asked: Iterable[Source[str, Asked]],
        leaving: Index[str, str, str],
    ) -> None:
        """Add the step. `leaving`: the names of the IP objects that go, by subnet."""
        self._effective, self._pools, self._asked, self._leaving = effective, pools, tuple(asked), leaving
        # The grants are an input because the step `recall` makes and releases grants: then other requests can be met.
        inputs: tuple[Source[Any, Any], ...] = (effective, pools, leaving, self._grants.held, *self._asked)
        graph.step("allocate addresses", inputs, self._allocate)

    def _allocate(self, news: News) -> None:
        lost: list[str] = []
        for name in news.of(self._effective) | news.of(self._pools):
            subnet = self._effective.values.get(name)
            if subnet is None:
                lost += self._ledger.drop_subnet(name)
            else:
                self._ledger.put_subnet(subnet, self._pools.values.get(name, {}))
        records = self._recall.lose(lost)
        freed, reshaped, granted = self._ledger.take_freed(), self._ledger.take_reshaped(), self._ledger.take_granted()
        if freed or reshaped or records:
            self._recall.adopt_again(records)
        elif granted:
            self._recall.judge_again()
        asked = [(source.name, key, source.values.get(key)) for source in self._asked for key in news.of(source)]
        for source_name, key, _ in asked:  # first, because a Node may take the record of a Pod
            self._forget(source_name, key)
        fresh = [line for each in asked if (line := self._note(*each)) is not None]
        self._serve(fresh, self._waiting.concerned(freed | granted, reshaped))
        self._tell()
        self._registry.publish()

    def _forget(self, source: str, key: str) -> None:
        """Forget the former request of a holder."""
        before = self._requests.pop((source, key), None)
        if before is not None:
            self._waiting.remove(before)
            self._unsaid.add(before)

    def _note(self, source: str, key: str, asked: Asked | None) -> Line | None:
        """Take over the request of a holder; None when it has none any more. Returns the line that the request waits
        in; None when it does not wait.
        """
        if isinstance(asked, Keep):
            if asked.owner.key in self._ledger.grants:
                self._recall.give(asked.owner, asked.record, asked.uid, is_new=False)
            return None
        if not isinstance(asked, Want):
            return None
        self._requests[source, key] = asked.record
        self._unsaid.add(asked.record)
        return self._waiting.add(asked, apart=asked.owner.key in self._ledger.grants)

    def _serve(self, *some: Iterable[Line]) -> None:
        """Serve lines. Of the first requests of all lines, the one with the least `order` is always tried next."""
        lines = dict.fromkeys(line for each in some for line in each if line.queue)
        heads = [(line.queue[0].order, number, line) for number, line in enumerate(lines)]
        heapify(heads)
        while heads:
            _, number, line = heappop(heads)
            if self._grant(line) and line.queue:
                heappush(heads, (line.queue[0].order, number, line))

    def _grant(self, line: Line) -> bool:
        """Grant the first request of a line, in exchange for the grant that its owner has. Returns False when the
        request cannot be met; then the owner keeps that grant.
        """
        want = line.queue[0]
        former = self._ledger.grants.get(want.owner.key)
        self._ledger.release(want.owner.key)
        try:
            place(self._ledger, want.owner, want.ask)
        except RefusedError as error:
            if former is not None:
                self._registry.take(want.owner, former, in_use=True)
            refusal = Refusal(names.ACQUIRE_ADDRESS_FAILED, str(error), error.elsewhere)
            if self._waiting.refuse(line, refusal, error.needs):
                self._unsaid.update(each.record for each in line.queue)
            return False
        self._waiting.remove(want.record)
        self._unsaid.add(want.record)
        self._recall.give(want.owner, want.record, want.uid, is_new=True)
        return True

    def _tell(self) -> None:
        """Put the refusals that changed into the collection. The refusal of a request that waits does not change while
        others come and go. A holder that is next for an address has no refusal.
        """
        before, self._next = self._next, self._find_next()
        for record in self._unsaid | (before ^ self._next):
            refusal = self._waiting.refusal(record)
            if refusal is None or record in self._next:
                self._grants.refusals.drop(record)
            else:
                self._grants.refusals.put(record, refusal)
        self._unsaid.clear()

    def _find_next(self) -> set[str]:
        records: list[str] = []
        for subnet, group in self._leaving.values.items():
            records += group if self._waiting.is_waited_for(subnet) else ()
        grants = filter(None, map(self._recall.leaving, sorted(records)))
        return self._waiting.next(map(self._ledger.needs_met, grants))


def place(ledger: Ledger, owner: Owner, ask: Ask) -> Grant:
    """Grant an address in the first place that has one. Raises RefusedError with a sentence for the user."""
    if ask.choices:
        return _choose(ledger, owner, ask)
    if ask.addresses:
        (only,) = ask.places
        return ledger.allocate(owner, only.subnet, ask.versions, ask.addresses, ask.mac, only.pool)
    full: list[ExhaustedError] = []
    for each in ask.places:
        try:
            return ledger.allocate(owner, each.subnet, ask.versions, (), ask.mac, each.pool)
        except ExhaustedError as error:
            full.append(error)
        except RefusedError as error:
            raise RefusedError(str(error), error.needs | _needs(full)) from None
    raise ExhaustedError("; ".join(map(str, full)), _needs(full))


def _choose(ledger: Ledger, owner: Owner, ask: Ask) -> Grant:
    """Grant the first entry of the list that is free. Raises RefusedError."""
    is_used = False
    refusals: list[RefusedError] = []
    for choice in ask.choices:
        held = [ledger.holder(choice.place.subnet, each) for each in choice.addresses]
        if any(each is not None and each.key != owner.key for each in held):
            is_used = True
            continue
        try:
            return ledger.allocate(
                owner, choice.place.subnet, ask.versions, choice.addresses, ask.mac, choice.place.pool
            )
        except RefusedError as error:  # this entry cannot be granted; others still may
            refusals.append(error)
    if refusals and not is_used:
        raise RefusedError(str(refusals[0]), _needs(refusals))
    # The owners are not named: they change whenever one Pod follows another, and many Pods may wait for this list.
    raise ExhaustedError(
        f"annotation {names.IP_POOL} lists {ask.listed} addresses and all are in use, as `kubectl get ip` shows: "
        "add addresses, or scale the workload down",
        _needs(refusals),
    )


def _needs(errors: Iterable[RefusedError]) -> set[Need]:
    return {need for error in errors for need in error.needs}
