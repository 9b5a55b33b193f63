"""Which settings of the kernel a node needs, and in which order."""

from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from kube_ovn.host.sysctl import IPV6_FORWARDING, find_uplinks, render_ipv4, render_ipv6
from kube_ovn.model.host import Way

LINKS = {"eth0": 2, "eth1.5": 3, "docker0": 4, "ovn0": 5, "ovngw0": 6}
NETWORKS = ("0.0.0.0/0", "192.0.2.0/24", "::/0", "2001:db8::/64", "fe80::/64")
WAYS = st.lists(
    st.builds(
        lambda link, to, taught: Way(link=link, index=LINKS[link], to=ip_network(to), taught=taught and ":" in to),
        st.sampled_from(sorted(LINKS)),
        st.sampled_from(NETWORKS),
        st.booleans(),
    ),
    max_size=8,
)


def way(link: str, to: str, via: str = "", *, taught: bool = False) -> Way:
    router = ip_address(via) if via else None
    return Way(link=link, index=LINKS[link], to=ip_network(to), via=router, taught=taught)


def test_the_links_that_lead_somewhere() -> None:
    ways = [way("docker0", "172.17.0.0/16"), way("eth0", "0.0.0.0/0", "192.0.2.1"), way("ovn0", "10.16.0.0/16")]
    ways += [way("eth1.5", "fe80::/64"), way("eth0", "2001:db8::5/128")]
    assert find_uplinks(ways, 4) == {"eth0": 2, "docker0": 4}
    assert find_uplinks(ways, 6) == {"eth0": 2}
    wanted = ["ovn0.forwarding", "ovn0.rp_filter", "ovngw0.forwarding", "ovngw0.rp_filter", "eth0.forwarding"]
    rendered = [str(each) for each in render_ipv4({"ovngw0", "ovn0"}, ways)]
    assert rendered == [f"net.ipv4.conf.{each}" for each in [*wanted, "docker0.forwarding"]]


def test_names_are_those_of_sysctl() -> None:
    (eth1,) = render_ipv4((), [way("eth1.5", "192.0.2.0/24")])
    assert (str(eth1), eth1.path) == ("net.ipv4.conf.eth1/5.forwarding", "ipv4/conf/eth1.5/forwarding")


@given(WAYS, st.booleans())
def test_the_node_forwards_ipv6_after_its_links_hear_routers(ways: list[Way], is_forwarding: bool) -> None:
    *hearing, last = render_ipv6(ways, is_forwarding=is_forwarding)
    assert last == IPV6_FORWARDING
    found = {each.path.split("/")[2] for each in hearing}
    uplinks = find_uplinks(ways, 6)
    assert found <= uplinks.keys()
    assert {each.link for each in ways if each.taught} & uplinks.keys() <= found
    assert is_forwarding or found == uplinks.keys()
    assert {(each.value, *each.instead_of) for each in hearing} <= {("2", "1")}


@given(WAYS)
def test_no_setting_is_written_twice_or_over_itself(ways: list[Way]) -> None:
    rendered = [*render_ipv4(("ovn0", "ovngw0"), ways), *render_ipv6(ways, is_forwarding=False)]
    assert len({each.path for each in rendered}) == len(rendered)
    assert not [each for each in rendered if each.value in each.instead_of]
