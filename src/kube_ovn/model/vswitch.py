"""Open_vSwitch rows this project writes on a node: names and types as in ovs-vswitchd.conf.db(5). Nouns only."""

from typing import ClassVar

from kube_ovn.model.row import Row


class Bridge(Row, frozen=True, kw_only=True):
    """Never owned: br-int belongs to ovn-controller. This project owns only the memberships of its ports in it."""

    TABLE: ClassVar[str] = "Bridge"
    MEMBERS: ClassVar[tuple[str, ...]] = ("ports",)

    name: str


class Port(Row, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "Port"
    MEMBERS: ClassVar[tuple[str, ...]] = ("interfaces",)

    name: str


class Interface(Row, frozen=True, kw_only=True):
    """The host's end of a Pod's veth, or ovn0. ovn-controller writes into its external_ids when the flows are
    in place.
    """

    TABLE: ClassVar[str] = "Interface"
    READ: ClassVar[tuple[str, ...]] = ("ofport", "error", "mac_in_use")
    FOREIGN_IDS: ClassVar[frozenset[str]] = frozenset({"ovn-installed", "ovn-installed-ts"})

    name: str
    type: str = ""
    mac: str | None = None
    mtu_request: int | None = None


class OpenVSwitch(Row, frozen=True, kw_only=True):
    """Never owned, only read: the one row of settings. Its external_ids name this chassis (system-id)."""

    TABLE: ClassVar[str] = "Open_vSwitch"
    KEY: ClassVar[str] = "external_ids"


TABLES: tuple[type[Row], ...] = (Bridge, Port, Interface, OpenVSwitch)
