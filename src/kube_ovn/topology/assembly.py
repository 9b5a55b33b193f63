"""The desired state, assembled from the outputs of keyed pure functions.

A unit is one Pod, Node, Subnet or VPC; its facts are the rows and memberships it alone is responsible for. Replacing a
unit's facts costs what the unit costs, not what the cluster costs, and the result never depends on the order in which
units came, went and came back.
"""

from kube_ovn.model.row import Key, Row, State


class Assembly:
    """Facts of all units as one `State`, with the set of keys that changed since the last `take_changed`."""

    def __init__(self) -> None:
        self.state: dict[Key, Row | None] = {}
        self._facts: dict[str, State] = {}
        self._changed: set[Key] = set()

    def put(self, unit: str, facts: State) -> None:
        """Set the facts of a unit. Raises ValueError when a fact is another unit's: names must be injective."""
        before = self._facts.get(unit, {})
        if before == facts:
            return
        for key in facts:
            if key in self.state and key not in before:
                raise ValueError(f"{key} of {unit} is another unit's fact already")
        for key in before:
            if key not in facts:
                del self.state[key]
                self._changed.add(key)
        for key, row in facts.items():
            if key not in before or before[key] != row:
                self.state[key] = row
                self._changed.add(key)
        self._facts[unit] = facts

    def drop(self, unit: str) -> None:
        """Forget a unit and its facts; no error when there is no such unit."""
        for key in self._facts.pop(unit, {}):
            del self.state[key]
            self._changed.add(key)

    def has(self, unit: str) -> bool:
        return unit in self._facts

    def take_changed(self) -> set[Key]:
        changed, self._changed = self._changed, set()
        return changed
