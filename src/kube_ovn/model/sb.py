"""OVN Southbound rows that this project reads: names and types as in ovn-sb(5). Nouns only; nothing is written."""

from typing import ClassVar

from kube_ovn.model.row import Row


class ChassisPrivate(Row, frozen=True, kw_only=True):
    """A node's own record. `nb_cfg`: the number of the last change of the Northbound database that the node follows."""

    TABLE: ClassVar[str] = "Chassis_Private"
    READ: ClassVar[tuple[str, ...]] = ("nb_cfg",)

    name: str
