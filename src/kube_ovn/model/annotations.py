"""The annotations that users may write, by the kind of object, and the sentence on one that nothing reads. Pure.

An annotation that is misspelt would be ignored without a word. Only domains that are ours are judged: any other
`<x>.kubernetes.io/` may be another project's.
"""

from collections.abc import Mapping, Set
from difflib import get_close_matches

from kube_ovn.model import names
from kube_ovn.model.network import Kind
from kube_ovn.model.text import suggest

OURS = ("kubeovn.io", "kube-ovn.io")
"""Domains that are ours besides `ovn.kubernetes.io`; labels have them."""
_PREFIX = "ovn.kubernetes.io/"
_SUFFIX = ".kubernetes.io"

PODS_READ = frozenset(
    {
        names.ALLOCATED,
        names.IP_ADDRESS,
        names.MAC_ADDRESS,
        names.CIDR,
        names.GATEWAY,
        names.LOGICAL_SWITCH,
        names.LOGICAL_ROUTER,
        names.POD_NIC_TYPE,
        names.ROUTED,
        names.IP_POOL,
        names.IP_FAMILY,
        names.ROUTES,
        names.PORT_SECURITY,
        names.PORT_VIPS,
        names.DHCP_V4_OPTIONS,
        names.DHCP_V6_OPTIONS,
    }
)
NAMESPACES_READ = frozenset(
    {
        names.LOGICAL_SWITCH,
        names.CIDR,
        names.GATEWAY,
        names.EXCLUDE_IPS,
        names.IP_POOL,
        names.PRIVATE,
        names.ALLOW,
        names.GATEWAY_TYPE,
        names.GATEWAY_NODE,
        names.NAT_OUTGOING,
        names.WRITTEN_BACK,
    }
)
READ: Mapping[Kind, Set[str]] = {
    Kind.POD: PODS_READ,
    Kind.NAMESPACE: NAMESPACES_READ,
    Kind.NODE: frozenset(
        {
            names.ALLOCATED,
            names.IP_ADDRESS,
            names.MAC_ADDRESS,
            names.CIDR,
            names.GATEWAY,
            names.LOGICAL_SWITCH,
            names.PORT_NAME,
            names.CHASSIS,
            names.NETWORKS,
        }
    ),
    Kind.SERVICE: frozenset({names.HEALTH_CHECK, names.AFFINITY_TIMEOUT}),
    Kind.NETWORK_POLICY: frozenset(
        {names.ENABLE_LOG, names.LOG_ACTIONS, names.LOG_RATE, names.POLICY_MODE, names.ENFORCED}
    ),
}
"""The annotations that are read, or written for users to read, by kind."""
_OF_THE_FABRIC = READ[Kind.NODE] | {names.ALLOCATED, names.LOGICAL_ROUTER, names.ROUTED, names.WRITTEN_BACK}
"""Annotations that no user writes."""
_LABELS = frozenset(
    {
        names.PERMIT_SPOOFING,
        names.GATEWAY_FOR_NAMESPACES,
        names.MADE_BY_NAMESPACE,
        names.IP_SUBNET,
        names.IP_NODE,
        names.IP_RESERVED,
    }
)

_OF_ATTACHMENTS = frozenset(
    {"default_route", "security_groups", "ingress_rate", "egress_rate", "ingress_burst", "egress_burst"}
    | {"latency", "jitter", "limit", "loss", "mirror", "layer2_forward", "activation_strategy"}
)
LATER: Mapping[Kind, Set[str]] = {
    Kind.POD: _OF_ATTACHMENTS | {"aaps", "vip", "eip", "snat", "north_gateway", "bgp"},
    Kind.NODE: frozenset(
        {"tunnel_interface", "node_networks", "ingress_rate", "egress_rate", "ingress_burst", "egress_burst"}
    ),
    Kind.SERVICE: frozenset({"logical_router", "logical_switch", "attachmentprovider", "bgp"}),
    Kind.NETWORK_POLICY: frozenset({"network_policy_enforcement", "network_policy_for"}),
}
"""What users of the first implementation may wish for, by kind, and cannot here yet (contract §1.2-1.4)."""
ATTACHABLE = _OF_ATTACHMENTS | {
    key.removeprefix(_PREFIX)
    for key in PODS_READ - {names.ALLOCATED, names.CIDR, names.GATEWAY, names.LOGICAL_ROUTER, names.ROUTED}
}
"""What users may wish for, in the first implementation, on each attachment of a Pod."""
SILENT: Mapping[Kind, Set[str]] = {
    Kind.POD: frozenset(
        {"vlan_id", "provider_network", "virtualmachine", "vpc_cidrs", "vf_representor", "vf", "err_mesg"}
        | {"vpc_nat_gw", "vpc_nat_gw_init", "vpc_nat_gw_container_restarted", "generate-hash", "service-cidr-hash"}
    ),
    Kind.SERVICE: frozenset({"vpc", "switch_lb_vip", "router_lb_vip", "service_external_ip_from_subnet"}),
}
"""What the first implementation itself writes, by kind, under its own domain or that of an attachment (contract §1.1,
§1.3, §1.4).
"""


def fault_of(kind: Kind, name: str) -> str:
    """The sentence on an annotation of an object of this kind that is under a domain of ours and that nothing reads;
    empty for any other annotation.
    """
    domain, _, key = name.partition("/")
    provider = domain.removesuffix(_SUFFIX)
    if name in READ[kind] or name == "kube-ovn.io/kube-ovn-tls-cert-hash":
        return ""
    if name in _LABELS:
        return f"annotation {name} does nothing on a {kind}: it is a label; set it as one"
    if domain in OURS:
        return _unknown(name, suggest(key.lower(), _known(kind), _PREFIX))
    if key in SILENT.get(kind, ()):
        return ""
    return _of_ours(kind, name, key) if provider == names.PROVIDER else _of_another(kind, name, provider, key)


def _of_ours(kind: Kind, name: str, key: str) -> str:
    if key in LATER[Kind.POD] or key in LATER.get(kind, ()):
        return f"annotation {name} is not supported yet; remove it"
    if other := next((each for each, read in READ.items() if name in read), None):
        advice = "remove it" if name in _OF_THE_FABRIC else "write it there"
        return f"annotation {name} does nothing on a {kind}: it is for a {other}; {advice}"
    return _unknown(name, suggest(key.lower(), _known(kind), _PREFIX))


def _of_another(kind: Kind, name: str, provider: str, key: str) -> str:
    """The sentence on an annotation of another provider: of an attachment (`<nad>.<namespace>[.ovn]`), or of `ovn`
    when that is misspelt.
    """
    labels = provider.split(".")
    if len(labels) == 1 and key in ATTACHABLE and get_close_matches(provider, ("ovn", "kubeovn", "kube-ovn")):
        return f"annotation {name} is unknown; did you mean {_PREFIX}{key}?"
    if kind is not Kind.POD or not 2 <= len(labels) <= 3 or labels[2:] not in ([], ["ovn"]):
        return ""
    if key in ATTACHABLE:
        return f"annotation {name} is not supported yet; remove it"
    is_ours = labels[2:] == ["ovn"] and _PREFIX + key not in PODS_READ
    return _unknown(name, suggest(key.lower(), ATTACHABLE, f"{provider}{_SUFFIX}/")) if is_ours else ""


def _unknown(name: str, meant: str) -> str:
    """The sentence on an annotation that nothing reads. `meant`: its end, where a name was probably meant."""
    return f"annotation {name} is unknown{meant or '; remove it'}"


def _known(kind: Kind) -> set[str]:
    """The keys under `ovn.kubernetes.io` that users may write on a kind."""
    return {each.removeprefix(_PREFIX) for each in READ[kind]}.union(LATER.get(kind, ()))
