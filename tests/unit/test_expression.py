"""The parser of matches by hand: what it takes, and what it says to the rest. `tests/daemon/test_expressions.py` puts
the same matches to OVN.
"""

import re
import time

import pytest

from kube_ovn.model.expression import DEEPEST, LONGEST, Match, parse_match

SET_BITS = {"six": 128, "mac": 48}
"""How long the addresses of some address sets are; those of all others are IPv4's."""

TAKEN = r"""
0
1
!1
!0
ip
ip4
ip6
ip4 && tcp
arp || (ip4 && udp)
ip4 == 1
ip4 != 0
!(ip4 == 0)
!(!ip4)
ip4[0]
ip4 == {1, 1}
ip4 == 1/1
ip.proto == 6
ip.proto == {6, 17, 132}
ip.proto == 0x11
ip.ttl == 255
ip.dscp == 46
ip.ecn == 3
ip.dscp[0..5] == 1
ip.frag == 3
!ip.frag
ip.is_frag
!ip.is_frag
ip.first_frag
!ip.first_frag
ip.later_frag == 0
eth.type == 0x800
eth.type==0x800
eth.type[0..15] == 0x800
0x86dd == eth.type
!eth.type
eth.type == {0x800, 0x806}
eth.src == 0a:00:00:12:34:56
eth.src == 0A:00:00:12:34:5F
eth.src != {0a:00:00:00:00:01, 0a:00:00:00:00:02}
eth.dst == 01:00:00:00:00:00/01:00:00:00:00:00
eth.dst == ff:ff:ff:ff:ff:ff
eth.dst[40]
!eth.dst[40]
eth.dst[0..15] == 0x1111
eth.src[0..15] > 0x1111
eth.src == 281474976710655
eth.bcast
!eth.bcast
eth.mcast
!eth.mcast
eth.mcast > 0
eth.mcastv6
vlan.present
!vlan.present
vlan.present == 1
vlan.present != 1
!(vlan.present != 0)
vlan.pcp == 0x4
!vlan.pcp
!(vlan.pcp)
vlan.vid == 100
1 <= vlan.vid <= 100
4 > vlan.pcp >= 1
!(1 < vlan.pcp < 4)
vlan.tci == 0x3000/0xf000
vlan.tci[12..15] != 0x3
vlan.pcp == 1 && !((vlan.pcp == 2 && vlan.pcp == 3) && vlan.pcp == 4)
ip4.src == 10.66.0.5
ip4.src == 10.66.0.0/16
ip4.src == 10.66.0.5/16
ip4.src == 10.66.0.0/255.255.0.0
ip4.src == 10.0.0.5/255.0.0.255
ip4.src == 0.0.0.0/0
ip4.src != 0.0.0.0/0
ip4.src == 10.66.0.0/4294967312
ip4.src == 168427520
ip4.src == 0x0a420000
ip4.src == 0/0xff
ip4.src == 0xa420000/0xffff0000
ip4.src == {10.66.0.1, 10.66.0.2}
ip4.src == {10.66.0.1 10.66.0.2}
ip4.src == {10.66.0.1, 10.66.0.2,}
ip4.src=={10.66.0.1,10.66.0.2}
ip4.src != {10.66.0.0/16, 10.67.0.0/16}
10.66.0.1 == ip4.src
{10.66.0.1, 10.66.0.2} == ip4.src
10.66.0.1 <= ip4.src <= 10.66.0.9
ip4.src > 10.66.0.1
ip4.src[24..31] == 10
ip4.src[8..31] == 0xac1014
ip4.src == ::1.2.3.4/::ffff:ffff
ip4.src_mcast
!ip4.src_mcast
ip4.mcast
!ip4.mcast
ip6.src == ::1
ip6.src == ::
ip6.src == fd00:66::5
ip6.src == FD00:66::5
ip6.src == fd00:66::/112
ip6.src == fd00:66::/ffff:ffff::
ip6.src == ::ffff:192.0.2.1
ip6.src == fd00:66::/128
ip6.src == ::/0
ip6.dst == 2001:db8:85a3:0:0:8a2e:370:7334
ip6.dst == 1:2:3:4:5:6:7::
ip6.dst == {fd00::1, fd00::2}
ip6.dst[0..7] == 0x12
ip6.dst == 10.0.0.1
ip6.label == 0xfffff
ip6.mcast
!ip6.mcast
ip6.mcast_flood
ip6.mcast_rsvd || ip6.mcast_all_nodes || ip6.mcast_all_rtrs || ip6.mcast_sol_node
icmp
icmp4
icmp6
icmp4.type == 8 && icmp4.code == 0
icmp6.type == {135, 136}
igmp
mldv1 || mldv2
nd
nd_ns || nd_na || nd_rs || nd_ra
nd_ns_mcast
nd.target == fd00::1
nd.sll == 0a:00:00:00:00:01
nd.tll != 0a:00:00:00:00:01
arp.op == 1
arp.spa == 10.66.0.0/16
arp.tpa > 10.0.0.0
arp.sha == 0a:00:00:00:00:01 && arp.tha == 0a:00:00:00:00:02
rarp && rarp.op == 3 && rarp.spa == 10.0.0.1
tcp.dst == 80
tcp.dst==80
tcp.dst == 0x50
tcp.dst == {80, 443, 0x1f90}
tcp.dst != 80
tcp.dst < 1024
tcp.dst <= 1024
tcp.dst > 1024
tcp.dst >= 1024
1024 < tcp.src
30000 <= tcp.dst <= 32767
!(30000 <= tcp.dst <= 32767)
32767 >= tcp.dst >= 30000
tcp.dst == 0x1000/0xf000
tcp.dst == 128/384
tcp.dst[0]
!tcp.dst
!(tcp.dst)
!tcp.dst[0..3]
tcp.dst[0..3] == 0xff
tcp.flags == 2
tcp.flags == 0x12/0x12
udp.src == 53 && udp.dst == 53
sctp.src == 1 || sctp.dst == 2
ct.new
!ct.new
ct.est && !ct.rpl
ct.trk && !ct.inv
ct.new == 1
ct.new != 0
ct.snat || ct.dnat || ct.rel
ct_state == 0x21/0x21
ct_mark == 0x1/0x1
ct_mark.blocked
!ct_mark.blocked
ct_mark.natted == 1
ct_mark.skip_snat || ct_mark.force_snat || ct_mark.allow_established
ct_mark.obs_stage == 3
ct_mark.ecmp_reply_port == 5
ct_mark.obs_collector_id == 255
ct_label == 0x1/0x1
ct_label > 5
ct_label.label == 7
ct_label.ecmp_reply_eth == 0a:00:00:00:00:01
ct_label.obs_unused == 0
ct_label.acl_id == 1
ct_label.obs_point_id == 1
pkt.mark == 0x4000/0x4000
flags.loopback
flags.localnet == 0
flags == 0
reg0 == 0
reg9[31]
xreg0 == 0
xreg4[0..63] == 18446744073709551615
xxreg1 == 0xffffffffffffffffffffffffffffffff
xxreg0[96..127] == 10.0.0.1
inport == "a.default"
outport == "a.default"
"a.default" == inport
inport == {"a.default", "b.default"}
inport == {"a.default" "b.default"}
!(inport != "a.default")
inport == "node-node1"
inport == ""
inport == "a \"quoted\" \\ one\t\u00e9 \ud83d\ude00"
inport == "Zürich 😀"
inport == @group
inport == {@group, "a.default", @other}
@group == outport
outport == @node.node1 && ip
inport == @_group.1
ip4.src == $set
ip4.src == {$set, 10.0.0.1}
ip4.src != $set
ip4.src != {10.0.0.1, $set, 10.1.0.0/16}
$set == ip4.src
$set != ip4.dst
{$set, 10.0.0.1} == ip4.src
ip4.src == $.set && ip4.dst == $_set.9
ip6.src == $six
ip6.src == {$six, $set}
eth.src == $mac
xxreg0 == $six
ip4.src == {100.64.0.0/16, $kube_ovn.NODES.ip4}
ip4.src == $node.2_example_ip4
is_chassis_resident("a.default")
!is_chassis_resident("a.default")
is_chassis_resident ( "a.default" ) && ip4
ip4 /* a comment */ && tcp /**/
ip4/**/&&/* * / // */tcp
(ip4)
((ip4))
(ip4 && tcp) || (ip6 && udp)
!(ip4.src == 10.0.0.0/8) && !(tcp.dst == 80)
!(!(!(tcp.dst == 80)))
(ip4.src == 10.50.0.0/24 && ip4.dst == 10.51.0.0/24) || (ip4.src == 10.51.0.0/24 && ip4.dst == 10.50.0.0/24)
outport == @default.deny && (tcp || udp || sctp)
inport == @np.ns && ip4.dst == $np.ns.egress.allow.IPv4.0 && ip4.dst != $np.ns.egress.except.IPv4.0
inport == @sg && ip4 && ip.proto == 112
udp.src == 68 && udp.dst == 67 && ip4
ip4.dst == 169.254.1.0/24 && tcp && 1 <= tcp.dst <= 65535
ip4 && ip4 && ip4 && ip4 && ip4 && ip4
ip4 || ip4 || ip4 || ip4 || ip4 || ip4
eth.src == 1:22:33:44:55:666
eth.src == 0x1:2:3:4:5:00006
tcp.dst == 0X0050
tcp.dst == 1/0
tcp.dst == 0xffff/0x0ffff
"""
"""One a line."""

MULTILINE = (
    "  ip4   &&   tcp  ",
    "ip4 &&\ntcp",
    "ip4 && // a comment\n tcp",
    "ip4 // a comment\n",
    "ip4\r\n\t&&\v\ftcp\n",
    'inport == "a\nb"',
    "ip4.src == {\n  10.0.0.1,\n  10.0.0.2,\n}\n",
)

CONSTANT, FIELD = "expecting constant.", "expecting field name."
RELATION, END = "expecting relational operator.", "expecting end of input."
NOMINAL = "may only be tested for equality (taking enclosing `!' operators into account)."
POSITIVE = "Nominal predicate {0} may only be tested positively, e.g. `{0}' or `{0} == 1' but not `!{0}' or `{0} == 0'."
MULTIBIT = "Explicit `!= 0' is required for inequality test of multibit field against 0."
MIXED = "&& and || must be parenthesized when used together."
ORDER = "Only == and != operators may be used with"
BAD_NUMBER = "Invalid numeric constant."
MASK = "Value and mask have incompatible formats."
RANGE = (
    "Range expressions must have the form `x < field < y' or `x > field > y', with each `<' optionally replaced by `<='"
    " or `>' by `>=')."
)
MASKED = (
    f"{ORDER} masked constants.  Consider using subfields instead (e.g. eth.src[0..15] > 0x1111 in place of eth.src >"
    " 00:00:00:00:11:11/00:00:00:00:ff:ff)."
)

REFUSED = {
    "": f"Syntax error at end of input {CONSTANT}",
    " ": f"Syntax error at end of input {CONSTANT}",
    "()": f"Syntax error at `)' {CONSTANT}",
    "!": f"Syntax error at end of input {CONSTANT}",
    "!!ip4": f"Syntax error at `!' {CONSTANT}",
    "&& ip4": f"Syntax error at `&&' {CONSTANT}",
    "ip4 &&": f"Syntax error at end of input {CONSTANT}",
    "ip4 && && tcp": f"Syntax error at `&&' {CONSTANT}",
    "ip4 & tcp": "`&' is only valid as part of `&&'.",
    "ip4 | tcp": "`|' is only valid as part of `||'.",
    "ip4 and tcp": f"Syntax error at `and' {END}",
    "ip4 AND tcp": f"Syntax error at `AND' {END}",
    "ip4, tcp": f"Syntax error at `,' {END}",
    "ip4; tcp": f"Syntax error at `;' {END}",
    "ip4 tcp": f"Syntax error at `tcp' {END}",
    "ip4)": f"Syntax error at `)' {END}",
    "ip4) || (tcp": f"Syntax error at `)' {END}",
    "(ip4": "Syntax error at end of input expecting `)'.",
    "(ip4 tcp)": "Syntax error at `tcp' expecting `)'.",
    "(1 x)": "Syntax error at `x' expecting `)'.",
    "ip4 && tcp || udp": MIXED,
    "ip4 || tcp && udp": MIXED,
    "(ip4 && tcp || udp)": MIXED,
    "eth.type == 0x800 || eth.type == 0x86dd && ip.proto == 17": MIXED,
    "tcp.dst": MULTIBIT,
    "eth.type": MULTIBIT,
    "!(!(vlan.pcp))": MULTIBIT,
    "tcp.dst[0..3]": MULTIBIT,
    "tcp.port == 80": f"Syntax error at `tcp.port' {FIELD}",
    "tcp.dport == 80": f"Syntax error at `tcp.dport' {FIELD}",
    "dst.ip == 10.0.0.1": f"Syntax error at `dst.ip' {FIELD}",
    "ip.src == 10.0.0.1": f"Syntax error at `ip.src' {FIELD}",
    "ipv4": f"Syntax error at `ipv4' {FIELD}",
    "IP4": f"Syntax error at `IP4' {FIELD}",
    "Ip4.src == 1.2.3.4": f"Syntax error at `Ip4.src' {FIELD}",
    "reg10 == 0": f"Syntax error at `reg10' {FIELD}",
    "xxreg2 == 0": f"Syntax error at `xxreg2' {FIELD}",
    "metadata == 0": f"Syntax error at `metadata' {FIELD}",
    "in_port == 1": f"Syntax error at `in_port' {FIELD}",
    "ct.tracked": f"Syntax error at `ct.tracked' {FIELD}",
    "igmp.type == 1": f"Syntax error at `igmp.type' {FIELD}",
    "ip4.src = 10.0.0.1": f"Syntax error at `=' {RELATION}",
    "tcp.dst = 80": f"Syntax error at `=' {RELATION}",
    'inport = "a"': f"Syntax error at `=' {RELATION}",
    "inport": f"Syntax error at end of input {RELATION}",
    "inport && ip4": f"Syntax error at `&&' {RELATION}",
    "ip4.src = = 1": f"Syntax error at `=' {RELATION}",
    "ip4.src === 1": f"Syntax error at `=' {CONSTANT}",
    "ip4.src =! 1": f"Syntax error at `=' {RELATION}",
    "ip4.src <> 1": f"Syntax error at `>' {CONSTANT}",
    "ip4.src <-> ip4.dst": MULTIBIT,
    "ip4.src ==": f"Syntax error at end of input {CONSTANT}",
    "ip4.src == ip4.dst": f"Syntax error at `ip4.dst' {CONSTANT}",
    "ip4.src == x": f"Syntax error at `x' {CONSTANT}",
    "ip4.src == (10.0.0.1)": f"Syntax error at `(' {CONSTANT}",
    "ip4.src == !10.0.0.1": f"Syntax error at `!' {CONSTANT}",
    "ip4.src == {}": f"Syntax error at `}}' {CONSTANT}",
    "ip4.src == {10.0.0.1": f"Syntax error at end of input {CONSTANT}",
    "ip4.src == {,10.0.0.1}": f"Syntax error at `,' {CONSTANT}",
    "ip4.src == {10.0.0.1,,10.0.0.2}": f"Syntax error at `,' {CONSTANT}",
    "ip4.src == {10.0.0.1; 10.0.0.2}": f"Syntax error at `;' {CONSTANT}",
    "ip4.src == {{10.0.0.1}}": f"Syntax error at `{{' {CONSTANT}",
    "ip4.src == 10.0.0.1, 10.0.0.2": f"Syntax error at `,' {END}",
    "ip4.src == [10.0.0.1]": f"Syntax error at `[' {CONSTANT}",
    "ip4.src == -1": f"Syntax error at `-' {CONSTANT}",
    "ip4.src in {10.0.0.1}": MULTIBIT,
    "ip4.src == 10.0.0": BAD_NUMBER,
    "ip4.src == 10.0.0.256": BAD_NUMBER,
    "ip4.src == 10.0.0.1.2": BAD_NUMBER,
    "ip4.src == 010.0.0.1": BAD_NUMBER,
    "ip4.src == 10.0.0.1.": BAD_NUMBER,
    "ip4.src == 10.0.0.0/33": MASK,
    "ip4.src == 10.0.0.0/": "Integer constant expected.",
    "ip4.src == 10.0.0.0/a": BAD_NUMBER,
    "ip4.src == 10.0.0.0/0xff": MASK,
    "ip4.src == 10.0.0.0/ffff::": MASK,
    "ip4.src == 10.0.0.0 / 8": "`/' is only valid as part of `//' or `/*'.",
    "ip4.src == 10.0.0.1-10.0.0.9": f"Syntax error at `-' {END}",
    "ip4.src == 10.0.0.1..10.0.0.9": f"Syntax error at `..' {END}",
    "ip4.src == 10.0.0.1:80": f"Syntax error at `:' {END}",
    "ip4.src == 4294967296": "33-bit constant is not compatible with 32-bit field ip4.src.",
    "ip4.src == fd00::1": "128-bit constant is not compatible with 32-bit field ip4.src.",
    "ip4.src == ::": "128-bit constant is not compatible with 32-bit field ip4.src.",
    "ip4.src == {10.0.0.1, fd00::1}": "128-bit constant is not compatible with 32-bit field ip4.src.",
    "ip4.src == 0a:00:00:00:00:01": "48-bit constant is not compatible with 32-bit field ip4.src.",
    "ip6.src == fd00::/129": MASK,
    "ip6.src == fd00:::1": BAD_NUMBER,
    "ip6.src == fd00::1::2": BAD_NUMBER,
    "ip6.src == fd00::12345": BAD_NUMBER,
    "ip6.src == 1:2:3:4:5:6:7": BAD_NUMBER,
    "ip6.src == 1:2:3:4:5:6:7:8:9": BAD_NUMBER,
    "ip6.src == fd00::g": BAD_NUMBER,
    "ip6.src == fd00::1%eth0": "Invalid character `%' in input.",
    "ip6.src == 0000:0000:0000:0000:0000:0000:0000:0000000001": BAD_NUMBER,
    "eth.src == 0a-00-00-00-00-01": BAD_NUMBER,
    "eth.src == 0a:00:00:00:00": BAD_NUMBER,
    "eth.src == 0a:00:00:00:00:0g": BAD_NUMBER,
    "eth.src == 0a:00:00:00:00:01/40": MASK,
    "ip4.src == 10.0.0.1/8:0": BAD_NUMBER,
    "eth.src > 00:00:00:00:11:11/00:00:00:00:ff:ff": MASKED,
    "tcp.dst > 0x10/0x10": MASKED,
    "tcp.dst == 65536": "17-bit constant is not compatible with 16-bit field tcp.dst.",
    "tcp.dst == 10.0.0.1": "32-bit constant is not compatible with 16-bit field tcp.dst.",
    "tcp.dst == 080": "Decimal constants must not have leading zeros.",
    "tcp.dst == 18446744073709551616": "Decimal constants must be less than 2**64.",
    f"tcp.dst == {'9' * 100}": "Decimal constants must be less than 2**64.",
    "tcp.dst == 0x": "Hex digits expected following 0x.",
    "tcp.dst == 0xfg": "Invalid syntax in hexadecimal constant.",
    "tcp.dst == 0x.": "Invalid syntax in hexadecimal constant.",
    f"xxreg0 == 0x1{'0' * 256}": "Hexadecimal constant requires more than 1024 bits.",
    f"xxreg0 == 0xg1{'0' * 256}": "Hexadecimal constant requires more than 1024 bits.",
    f"xxreg0 == 0x1g{'0' * 255}": "Invalid syntax in hexadecimal constant.",
    f"xxreg0 == 0x1g{'0' * 256}": "Invalid syntax in hexadecimal constant.",
    "xxreg0 == 0x100000000000000000000000000000000": "129-bit constant is not compatible with 128-bit field xxreg0.",
    "tcp.dst == 8o": BAD_NUMBER,
    "tcp.dst == 80-90": f"Syntax error at `-' {END}",
    "tcp.dst == 80:90": BAD_NUMBER,
    "tcp.dst == 80.0": BAD_NUMBER,
    "tcp.dst == 1/0x1": MASK,
    "tcp.dst == 80 443": f"Syntax error at `443' {END}",
    "tcp.dst == {1..5}": f"Syntax error at `..' {CONSTANT}",
    "tcp.dst > {80, 443}": f"{ORDER} value sets.",
    "{80, 443} > tcp.dst": f"{ORDER} value sets.",
    "1 < tcp.dst > 5": RANGE,
    "1 == tcp.dst == 5": RANGE,
    "1 < tcp.dst == 5": RANGE,
    "1 != tcp.dst < 5": RANGE,
    "1 < tcp.dst < 65536": "17-bit constant is not compatible with 16-bit field tcp.dst.",
    "65536 > tcp.dst > 1": "17-bit constant is not compatible with 16-bit field tcp.dst.",
    "1 < tcp.dst < {2, 3}": f"{ORDER} value sets.",
    "1 < tcp.dst <": f"Syntax error at end of input {CONSTANT}",
    "1 < tcp.dst < 5 < 9": f"Syntax error at `<' {END}",
    "tcp.dst < 5 < 9": f"Syntax error at `<' {END}",
    "123": f"Syntax error at end of input {RELATION}",
    "2": f"Syntax error at end of input {RELATION}",
    "0x1": f"Syntax error at end of input {RELATION}",
    "{1}": f"Syntax error at end of input {RELATION}",
    "1/1": f"Syntax error at end of input {RELATION}",
    "10.0.0.1": f"Syntax error at end of input {RELATION}",
    '"a"': f"Syntax error at end of input {RELATION}",
    "123 x": f"Syntax error at `x' {RELATION}",
    "123 == 123": f"Syntax error at `123' {FIELD}",
    "123 == xyzzy": f"Syntax error at `xyzzy' {FIELD}",
    "!0x800 != eth.type": "Missing parentheses around operand of !.",
    "!tcp.dst == 80": "Missing parentheses around operand of !.",
    "!1 < tcp.dst < 9": "Missing parentheses around operand of !.",
    '!inport != "a"': "Missing parentheses around operand of !.",
    "!ip4": POSITIVE.format("ip4"),
    "!tcp": POSITIVE.format("tcp"),
    "ip4 == 0": POSITIVE.format("ip4"),
    "ip4 != 1": POSITIVE.format("ip4"),
    "ip4 == {1, 0}": POSITIVE.format("ip4"),
    "!(ip4 && tcp)": POSITIVE.format("ip4"),
    "!(icmp || igmp)": POSITIVE.format("icmp"),
    "!nd": POSITIVE.format("nd"),
    "!arp": POSITIVE.format("arp"),
    "ip4 == 2": "2-bit constant is not compatible with 1-bit field ip4.",
    "ip4 > 0": f"{ORDER} nominal field ip4.",
    "vlan.present > 0": f"{ORDER} Boolean field vlan.present.",
    "eth.type > 0x800": f"{ORDER} nominal field eth.type.",
    "ip.ttl < 2": f"{ORDER} nominal field ip.ttl.",
    'inport < "a"': f"{ORDER} nominal field inport.",
    "eth.type != 0x800": f"Nominal field eth.type {NOMINAL}",
    "!(eth.type == 0x800)": f"Nominal field eth.type {NOMINAL}",
    "ip.proto != 6": f"Nominal field ip.proto {NOMINAL}",
    "!(ip.proto == {6, 17})": f"Nominal field ip.proto {NOMINAL}",
    "icmp4.type != 8": f"Nominal field icmp4.type {NOMINAL}",
    'inport != "a"': f"Nominal field inport {NOMINAL}",
    '!(inport == "a")': f"Nominal field inport {NOMINAL}",
    "inport != @group": f"Nominal field inport {NOMINAL}",
    "eth.type[10] == 1": "Cannot select subfield of nominal field eth.type.",
    "eth.type[12..16] == 1": "Cannot select bits 12 to 16 of 16-bit field eth.type.",
    "tcp.dst[16] == 1": "Cannot select bits 16 to 16 of 16-bit field tcp.dst.",
    "tcp.dst[5..1] == 1": "Invalid bit range 5 to 1.",
    "tcp.dst[] == 1": "Syntax error at `]' expecting small integer.",
    "tcp.dst[x] == 1": "Syntax error at `x' expecting small integer.",
    "tcp.dst[0x1] == 1": "Syntax error at `0x1' expecting small integer.",
    "tcp.dst[::1] == 1": "Syntax error at `::1' expecting small integer.",
    "tcp.dst[2147483648] == 1": "Syntax error at `2147483648' expecting small integer.",
    "tcp.dst[2147483647] == 1": "Cannot select bits 2147483647 to 2147483647 of 16-bit field tcp.dst.",
    "tcp.dst[1/1] == 1": "Syntax error at `1/1' expecting small integer.",
    "tcp.dst[0.. == 1": "Syntax error at `==' expecting small integer.",
    "tcp.dst[0-3] == 1": "Syntax error at `-' expecting `]'.",
    "tcp.dst[0 == 1": "Syntax error at `==' expecting `]'.",
    "inport[0] == 1": "Cannot select subfield of string field inport.",
    "ip4[1]": "Cannot select bits 1 to 1 of 1-bit field ip4.",
    "inport == 1": "String field inport is not compatible with integer constant.",
    "inport == a.default": f"Syntax error at `a.default' {CONSTANT}",
    "inport == 'a.default'": "Invalid character `'' in input.",
    "inport == $set": "String field inport is not compatible with integer constant.",
    'ip4.src == "10.0.0.1"': "Integer field ip4.src is not compatible with string constant.",
    "ip4.src == @group": "Integer field ip4.src is not compatible with string constant.",
    'ip4.src == {10.0.0.1, "a"}': 'Syntax error at `"a"\' expecting integer.',
    'inport == {"a", 1}': "Syntax error at `1' expecting string.",
    'inport == {"a", $set}': "Syntax error at `$set' expecting string.",
    "ip4.src == {$set, @group}": "Syntax error at `@group' expecting integer.",
    "ip4.src == {@group, $set}": "Syntax error at `$set' expecting string.",
    'inport == "a': "Input ends inside quoted string.",
    'inport == "a\\"': "Input ends inside quoted string.",
    'inport == "a\\x"': "bad escape \\x",
    'inport == "a\\u12"': "quoted string ends within \\u escape",
    'inport == "a\\u12zz"': "malformed \\u escape",
    'inport == "a\\u0000"': "null bytes not supported in quoted strings",
    'inport == "a\\ud83d"': "malformed escaped surrogate pair",
    'inport == "a\\ud83dx"': "malformed escaped surrogate pair",
    'inport == "a\\ud83d\\u12"': "quoted string ends within \\u escape",
    'inport == "a\\ud83d\\u0041"': "second half of escaped surrogate pair is not trailing surrogate",
    "$": "`$' must be followed by a valid identifier.",
    "ip4.src == $1": "`$' must be followed by a valid identifier.",
    "ip4.src == $10_1_1_pool.ip4": "`$' must be followed by a valid identifier.",
    "ip4.src == $ set": "`$' must be followed by a valid identifier.",
    "ip4.src == $set-a": f"Syntax error at `-' {END}",
    "ip4.src == $set/8": "`/' is only valid as part of `//' or `/*'.",
    "ip4.src == $six": "128-bit constant is not compatible with 32-bit field ip4.src.",
    "ip4.src == $mac": "48-bit constant is not compatible with 32-bit field ip4.src.",
    "tcp.dst == $set": "32-bit constant is not compatible with 16-bit field tcp.dst.",
    "ip4 == $set": "32-bit constant is not compatible with 1-bit field ip4.",
    "ip4.src > {$set}": f"{ORDER} value sets.",
    "inport == @1": "`@' must be followed by a valid identifier.",
    "inport == @": "`@' must be followed by a valid identifier.",
    "is_chassis_resident": f"Syntax error at `is_chassis_resident' {FIELD}",
    "is_chassis_resident()": "Syntax error at `)' expecting string.",
    "is_chassis_resident(a)": "Syntax error at `a' expecting string.",
    'is_chassis_resident("a"': "Syntax error at end of input expecting `)'.",
    'is_chassis_resident("a", "b")': "Syntax error at `,' expecting `)'.",
    'is_chassis_resident("a") == 1': f"Syntax error at `==' {END}",
    "check_in_port_sec()": "parsing function name",
    "tcp(80)": "parsing function name",
    "ip4 /* tcp": "`/*' without matching `*/'.",
    "ip4 /*/": "`/*' without matching `*/'.",
    "ip4 /* a\n */": "`/*' without matching `*/'.",
    "ip4 / tcp": "`/' is only valid as part of `//' or `/*'.",
    "ip4 # tcp": "Invalid character `#' in input.",
    "ip4 ? tcp": "Invalid character `?' in input.",
    "ip4 \\ tcp": "Invalid character `\\' in input.",
    "ip4 == 1.": BAD_NUMBER,
    ".ip4": "`.' is only valid as part of `..' or a number.",
    "..": f"Syntax error at `..' {CONSTANT}",
    "tcp.dst[0..3..5] == 1": "Syntax error at `..' expecting `]'.",
    "ip4 ** tcp": "Invalid character `*' in input.",
    "ip4; drop;": f"Syntax error at `;' {END}",
    "ip4 --": f"Syntax error at `--' {END}",
    "<->": f"Syntax error at `<->' {CONSTANT}",
    ":": f"Syntax error at `:' {CONSTANT}",
}
"""By match: OVN's sentence."""

TEMPLATE = "A match cannot have a `^', which OVN takes for a template."
NARROWER = {
    "ip4 // a comment": "The comment after `//' needs an end of line.",
    "ip4.src > $set": f"{ORDER} value sets.",
    "1 < ip4.src < $set": f"{ORDER} value sets.",
    "ip4.src == ^service.0": TEMPLATE,
    'inport == "a^b"': TEMPLATE,
    "icmp4.frag_mtu == 1400": f"Syntax error at `icmp4.frag_mtu' {FIELD}",
    "icmp6.frag_mtu == 1400": f"Syntax error at `icmp6.frag_mtu' {FIELD}",
    "ip4.src == é": "Invalid character `é' in input.",
    "ip4\x01": "Invalid character U+0001 in input.",
    "ip4\u00a0&& tcp": "Invalid character U+00A0 in input.",
    "tcp.dst == ٨٠": "Invalid character `٨' in input.",
    f'tcp "{"a" * 60}"': f"Syntax error at `\"{'a' * 59}...' {END}",
}
"""By match: our own sentence, where OVN says it otherwise, or takes the match for as long as it suits a set."""


def taken() -> list[str]:
    return [*TAKEN[1:-1].split("\n"), *MULTILINE]


@pytest.mark.parametrize("text", taken())
def test_taken(text: str) -> None:
    assert parse_match(text, SET_BITS)


@pytest.mark.parametrize(("text", "sentence"), [*REFUSED.items(), *NARROWER.items()])
def test_refused(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)) as caught:
        parse_match(text, SET_BITS)
    assert str(caught.value) == sentence, "nothing before or after it"


def test_names_that_a_match_refers_to() -> None:
    match = parse_match(
        "inport == {@b, @a.1} && (ip4.src == {$_c, 10.0.0.1} || !(ip4.src == $_c)) && tcp.dst[0..3] == 1"
    )
    assert match == Match(
        fields=frozenset({"inport", "ip4.src", "tcp.dst"}),
        address_sets=frozenset({"_c"}),
        port_groups=frozenset({"b", "a.1"}),
    )


@pytest.mark.parametrize("number", [0, 0xD800, 0xDFFF])
def test_what_no_database_holds(number: int) -> None:
    for text in (f"ip4{chr(number)}", f'inport == "{chr(number)}"', f"ip4 /* {chr(number)} */"):
        with pytest.raises(ValueError, match=rf"^Invalid character U\+{number:04X} in input\.$"):
            parse_match(text)


def test_the_longest() -> None:
    assert parse_match("ip4" + " " * (LONGEST - 3))
    with pytest.raises(ValueError, match=rf"^The match has {LONGEST + 1} characters; {LONGEST} are the most\.$"):
        parse_match("ip4" + " " * (LONGEST - 2))


def test_the_deepest() -> None:
    assert parse_match("(" * DEEPEST + "ip4" + ")" * DEEPEST)
    assert parse_match("!(" * DEEPEST + "tcp.dst == 1" + ")" * DEEPEST)
    for text in ("(" * (DEEPEST + 1) + "ip4" + ")" * (DEEPEST + 1), "(" * LONGEST, "!(" * (LONGEST // 2)):
        with pytest.raises(ValueError, match=r"^Parentheses nested too deeply\.$"):
            parse_match(text)


@pytest.mark.parametrize(
    "pattern",
    ['"', "\\", '"\\', "/*", "/**", "//", "!", "{", "$a", "::", "a:", "1/", ". ", "&&", "1 < ", "ip4 && ", "\n"],
)
def test_time_grows_with_length(pattern: str) -> None:
    """The longest matches of what could make a parser go back and forth take milliseconds."""
    text = (pattern * LONGEST)[: LONGEST - 1] + ")"
    begin = time.process_time()
    with pytest.raises(ValueError, match=r"\S"):
        parse_match(text)
    assert time.process_time() - begin < 0.5
