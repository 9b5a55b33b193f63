"""The fields and predicates that a match may name, with their widths and the comparisons that each allows.

Facts only. Two fields of OVN are left out, `icmp4.frag_mtu` and `icmp6.frag_mtu`: they are there for actions, OVN's
parser lets a comparison with one through, and ovn-controller ends with a segmentation fault when it makes flows of it.
"""

from typing import Final, Literal, NamedTuple

Level = Literal["nominal", "Boolean", "ordinal"]
"""The comparisons that a field allows, in OVN's words: a nominal field only a test for equality, a Boolean one also for
a difference, an ordinal one all.
"""


class Symbol(NamedTuple):
    name: str
    width: int
    """Bits; 0 for a field that holds a text."""
    level: Level
    predicate: bool = False
    """Whether the symbol stands for an expression instead of a part of the packet."""


_TEXTS = "inport outport"
_NOMINAL = {
    2: "ip.ecn",
    6: "ip.dscp",
    8: "icmp4.code icmp4.type icmp6.code icmp6.type ip.proto ip.ttl",
    16: "arp.op eth.type rarp.op",
}
_ORDINAL = {
    1: """
        ct.dnat ct.est ct.inv ct.new ct.rel ct.rpl ct.snat ct.trk
        ct_mark.allow_established ct_mark.blocked ct_mark.force_snat ct_mark.natted ct_mark.skip_snat
        eth.mcast
        flags.force_snat_for_dnat flags.force_snat_for_lb flags.from_ctrl flags.icmp_snat flags.localnet flags.loopback
        flags.skip_snat_for_lb flags.tunnel_rx flags.unsnat_new flags.unsnat_not_tracked flags.use_snat_zone
    """,
    2: "ct_mark.obs_stage ip.frag",
    3: "vlan.pcp",
    8: "ct_mark.obs_collector_id",
    12: "tcp.flags vlan.vid",
    16: """
        ct_label.acl_id ct_mark.ecmp_reply_port sctp.dst sctp.src tcp.dst tcp.src udp.dst udp.src vlan.tci
    """,
    20: "ip6.label",
    32: """
        arp.spa arp.tpa ct_label.label ct_label.obs_point_id ct_mark ct_state flags ip4.dst ip4.src pkt.mark rarp.spa
        rarp.tpa reg0 reg1 reg2 reg3 reg4 reg5 reg6 reg7 reg8 reg9
    """,
    48: "arp.sha arp.tha ct_label.ecmp_reply_eth eth.dst eth.src nd.sll nd.tll rarp.sha rarp.tha",
    64: "xreg0 xreg1 xreg2 xreg3 xreg4",
    96: "ct_label.obs_unused",
    128: "ct_label ip6.dst ip6.src nd.target xxreg0 xxreg1",
}
_PREDICATES: dict[Level, str] = {
    # A predicate is nominal when its expression has a nominal field, such as eth.type.
    "nominal": """
        arp icmp icmp4 icmp6 igmp ip ip4 ip6 mldv1 mldv2 nd nd_na nd_ns nd_ns_mcast nd_ra nd_rs rarp sctp tcp udp
    """,
    "Boolean": """
        eth.bcast eth.mcastv6 ip.first_frag ip.is_frag ip.later_frag ip4.mcast ip4.src_mcast ip6.mcast
        ip6.mcast_all_nodes ip6.mcast_all_rtrs ip6.mcast_flood ip6.mcast_rsvd ip6.mcast_sol_node vlan.present
    """,
}

SYMBOLS: Final = {
    symbol.name: symbol
    for symbol in (
        *(Symbol(name, 0, "nominal") for name in _TEXTS.split()),
        *(Symbol(name, width, "nominal") for width, names in _NOMINAL.items() for name in names.split()),
        *(Symbol(name, width, "ordinal") for width, names in _ORDINAL.items() for name in names.split()),
        *(Symbol(name, 1, level, True) for level, names in _PREDICATES.items() for name in names.split()),
    )
}
