"""Open_vSwitch rows this project writes on a node: names and types as in ovs-vswitchd.conf.db(5). Nouns only."""

from typing import ClassVar

from kube_ovn.model.row import Row


class Bridge(Row, frozen=True, kw_only=True):
    """Never ours: br-int belongs to ovn-controller. Only the membership of our ports in it is."""

    TABLE: ClassVar[str] = "Bridge"
    MEMBERS: ClassVar[tuple[str, ...]] = ("ports",)

    name: str


class Port(Row, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "Port"
    MEMBERS: ClassVar[tuple[str, ...]] = ("interfaces",)

    name: str


class Interface(Row, frozen=True, kw_only=True):
    """`external_ids` is owned key by key on this table: ovn-controller adds `ovn-installed` beside ours."""

    TABLE: ClassVar[str] = "Interface"

    name: str
    type: str = ""
    mac: str | None = None
    mtu_request: int | None = None


TABLES: tuple[type[Row], ...] = (Bridge, Port, Interface)
