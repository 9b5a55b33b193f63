"""The ACLs that every subnet for Pods has, before and after those of users. Pure."""

from collections.abc import Iterable

from kube_ovn.model import names
from kube_ovn.model.addr import Network
from kube_ovn.model.nb import Acl
from kube_ovn.model.network import Subnet
from kube_ovn.model.row import owned

_DHCP_ANSWERS = {4: "(udp.src == 67 && udp.dst == 68)", 6: "(udp.src == 547 && udp.dst == 546)"}
"""What DHCP servers send, by IP version. A Pod that sent it would become the router of its neighbours. OVN lets router
advertisements past every ACL; Pods do not listen to those (`linux.sysctl`).
"""
_COMMIT = 1
"""The label of ACLs. Its value means nothing; only its presence counts."""


def render_standing(subnet: Subnet, *, lb: bool, services: tuple[Network, ...], dns: bool) -> list[Acl]:
    """The ACLs of a subnet for Pods. `lb`: whether Services are reached from it; `services`: the networks of their own
    addresses, where those that no Service has are refused; `dns`: whether the switch answers questions for names.
    """
    guards = [_guard(subnet, "dhcp", dhcp_answers(subnet.versions), "drop"), *_unblocked(subnet)]
    if dns:
        guards.append(_dns_guard(subnet))
    if lb:
        if services:
            guards += [_service_guard(subnet, services), _hairpin(subnet, services)]
        if dns:
            guards.append(_dns_commit(subnet))
    return guards


def _unblocked(subnet: Subnet) -> list[Acl]:
    """Lead packets of a connection that an ACL ended to the last tier, so that it stays ended until an ACL allows it,
    or none matches there. Where no ACL of a tier matches such a packet, OVN allows the connection again and looks at no
    later tier (`build_acls` in northd, 25.03: the flow for `ct_mark.blocked == 1` names no tier). Of packets that Pods
    send the ACLs after the load balancers decide, where OVN has no such flow.
    """
    return [
        Acl(
            priority=names.ACL_NEXT_TIER,
            direction="to-lport",
            match="ct.est && ct_mark.blocked == 1",
            action="pass" if tier < names.TIER_LAST else "allow-related",
            tier=tier,
            external_ids=owned(key=f"subnet {subnet.name} blocked {tier}", parent=subnet.name),
        )
        for tier in range(names.TIER_LAST + 1)
    ]


def _hairpin(subnet: Subnet, services: tuple[Network, ...]) -> Acl:
    """Let a Pod reach itself through a Service, whatever policies say of other Pods. The load balancer gives such a
    packet the Service's address as its source, and sends it back where it came from: nothing else that has such a
    source does so (`ls_in_hairpin` in northd).
    """
    source = " || ".join(f"ip{each.version}.src == {each}" for each in services)
    return Acl(
        priority=names.ACL_GUARD,
        direction="to-lport",
        match=f"flags.loopback && ({source})",
        action="allow-related",
        tier=names.TIER_GUARD,
        external_ids=owned(key=f"subnet {subnet.name} hairpin", parent=subnet.name),
    )


def _dns_guard(subnet: Subnet) -> Acl:
    """Refuses packets that go from port 53 to port 53. OVN takes a packet to port 53 for a question, and a packet from
    port 53 that its controller has seen for an answer of its own, which no ACL may stop. A packet that is both, and no
    question, would pass every ACL (CVE-2025-0650, as far as it is left in OVN 25.03: `flags.from_ctrl` in
    ls_out_acl_eval). It is refused before that, at the port that it has after load balancing.
    """
    return _guard(subnet, "dns", f"udp.src == {names.DNS_PORT} && udp.dst == {names.DNS_PORT}")


def _service_guard(subnet: Subnet, services: tuple[Network, ...]) -> Acl:
    """Refuses packets that still have an address of a Service after the load balancers: no Service that this node knows
    has it. If such a packet went on, OVN would commit its connection as it is, and what the client sends from the same
    port to the Service that is made a moment later would belong to that connection and never reach an endpoint.

    A part of a datagram that is larger than the MTU has no port by which a load balancer could find its Service where
    Open vSwitch works in user space. It goes on to the node, which puts the datagram together and knows the Service's
    endpoints in the nodes' own network.
    """
    to_services = " || ".join(f"ip{each.version}.dst == {each}" for each in services)
    return _guard(subnet, "services", f"!ip.is_frag && ({to_services})")


def dhcp_answers(versions: Iterable[int]) -> str:
    """The match of the answers of DHCP servers of these IP versions."""
    return " || ".join(_DHCP_ANSWERS[version] for version in versions)


def _guard(subnet: Subnet, what: str, match: str, action: str = "reject") -> Acl:
    """An ACL that refuses packets after the load balancers, before the ACLs of users."""
    return Acl(
        priority=names.ACL_GUARD,
        direction="from-lport",
        match=match,
        action=action,
        tier=names.TIER_GUARD,
        options={"apply-after-lb": "true"},
        external_ids=owned(key=f"subnet {subnet.name} {what}", parent=subnet.name),
    )


def _dns_commit(subnet: Subnet) -> Acl:
    """Commits the connection of a question once more. The second question from one port to the address of a Service
    belongs to a known connection: when OVN answers it, the packet was sent to the endpoint's address already. On its
    way back the userspace datapath of Open vSwitch takes it for a packet with addresses that are restored already
    (`handle_nat` in lib/conntrack.c, 3.5). The client would see an answer from an address that it never asked. OVN
    forgets what the packet has been through when it commits the connection once more, which it does for an ACL with a
    label. Whatever else allows such packets in this stage, after the load balancers and before this ACL, needs a label
    too.
    """
    return Acl(
        priority=names.ACL_DNS_COMMIT,
        direction="from-lport",
        match=f"ct.est && udp.dst == {names.DNS_PORT}",  # packets from the router are not tracked, and must not be
        action="allow-related",
        tier=names.TIER_LAST,
        label=_COMMIT,
        options={"apply-after-lb": "true"},
        external_ids=owned(key=f"subnet {subnet.name} dns commit", parent=subnet.name),
    )
