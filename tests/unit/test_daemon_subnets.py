"""Which changes of Subnets a node hears of, and what it knows of them."""

from ipaddress import ip_network

from kube_ovn.daemon.subnets import Subnets
from kube_ovn.host.subnet import NodeSubnet
from kube_ovn.model.crd import Subnet, SubnetSpec, SubnetStatus
from kube_ovn.model.kube import VersionedMeta


class Heard:
    """Subnets, and how often they told of a change since the last question."""

    def __init__(self) -> None:
        self._count = 0
        self.subnets = Subnets("join", "node1", self._hear)

    def _hear(self) -> None:
        self._count += 1

    def something(self) -> bool:
        count, self._count = self._count, 0
        return count > 0


def subnet(name: str, cidr_block: str, *, nat: bool = False, mtu: int = 0, used: int = 0, uid: str = "") -> Subnet:
    return Subnet(
        metadata=VersionedMeta(name=name, uid=uid or f"uid-{name}"),
        spec=SubnetSpec(nat_outgoing=nat, mtu=mtu),
        status=SubnetStatus(cidr_block=cidr_block, v4_using_ips=used, v4_available_ips=1000 - used),
    )


def effective(name: str, *networks: str, nat: bool = False) -> NodeSubnet:
    return NodeSubnet(name=name, networks=tuple(map(ip_network, networks)), nat=nat)


def known(*items: Subnet) -> Heard:
    heard = Heard()
    heard.subnets.store.replace(items, 0.0)
    assert heard.something()
    return heard


def names(heard: Heard) -> list[str]:
    return [subnet.name for subnet in heard.subnets.effective or ()]


def test_nothing_is_known_before_the_first_full_list() -> None:
    heard = Heard()
    heard.subnets.store.put(subnet("a", "10.1.0.0/16"))
    assert heard.subnets.effective is None
    heard.something()
    heard.subnets.store.replace([subnet("a", "10.1.0.0/16")], 0.0)
    assert heard.something()  # nothing changed but that
    assert heard.subnets.effective == (effective("a", "10.1.0.0/16"),)


def test_an_empty_list_is_an_answer() -> None:
    assert known().subnets.effective == ()


def test_in_effect_but_the_join_subnet() -> None:
    heard = known(
        subnet("b", "10.2.0.0/16,fd00:2::/64", nat=True),
        subnet("a", "10.1.0.0/16"),
        subnet("join", "100.64.0.0/16"),
        subnet("refused", ""),
    )
    assert heard.subnets.effective == (
        effective("a", "10.1.0.0/16"),
        effective("b", "10.2.0.0/16", "fd00:2::/64", nat=True),
    )


def test_counts_are_not_heard_of() -> None:
    """They change with every Pod of the cluster."""
    heard = known(subnet("a", "10.1.0.0/16", used=1))
    heard.subnets.store.put(subnet("a", "10.1.0.0/16", used=2))
    assert not heard.something()
    heard.subnets.store.put(subnet("a", "10.1.0.0/16", used=3, mtu=1300))
    assert not heard.something()
    assert heard.subnets.mtu("a") == 1300  # known all the same


def test_what_concerns_the_node_is_heard_of() -> None:
    heard = known(subnet("a", "10.1.0.0/16"))
    for changed in (
        subnet("a", "10.1.0.0/16", nat=True),
        subnet("a", "10.0.0.0/15", nat=True),
        subnet("b", "10.2.0.0/16"),
        subnet("b", "10.2.0.0/16", uid="made anew, and something else with it"),
        subnet("a", ""),
    ):
        heard.subnets.store.put(changed)
        assert heard.something(), changed
    assert names(heard) == ["b"]
    heard.subnets.store.remove("made anew, and something else with it")
    assert heard.something()
    assert names(heard) == []


def test_a_list_after_an_outage_tells_of_all_at_once() -> None:
    heard = known(subnet("a", "10.1.0.0/16"), subnet("b", "10.2.0.0/16"))
    heard.subnets.store.replace([subnet("b", "10.2.0.0/16", nat=True), subnet("c", "10.3.0.0/16")], 1.0)
    assert heard.something()
    assert heard.subnets.effective == (effective("b", "10.2.0.0/16", nat=True), effective("c", "10.3.0.0/16"))


def test_a_damaged_status_changes_nothing() -> None:
    heard = known(subnet("a", "10.1.0.0/16"), subnet("new", "no cidr"))
    assert heard.subnets.effective == (effective("a", "10.1.0.0/16"),)
    heard.subnets.store.put(subnet("a", "10.1.0.1/16"))
    assert not heard.something()
    assert heard.subnets.effective == (effective("a", "10.1.0.0/16"),)


def test_mtu_of_nobody() -> None:
    assert known().subnets.mtu("a") == 0
