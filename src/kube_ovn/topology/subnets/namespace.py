"""A Namespace: the subnets that it is bound to, by its annotations or by Subnets, and the annotations that are written
to it. Pure.

The same annotations carry the wishes of users and the texts that the controller writes back. `names.WRITTEN_BACK` tells
them apart: it records the texts that were written. A text that differs from the record is a wish.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from kube_ovn.config import parse_bool, parse_list
from kube_ovn.model import names
from kube_ovn.model.addr import Address, format_list, parse_addresses, parse_networks
from kube_ovn.model.crd import LabelSelector, SelectorRequirement
from kube_ovn.model.kube import Namespace
from kube_ovn.model.network import Kind, ObjectRef, Subnet, Told, cluster_ref
from kube_ovn.topology.subnets.verdict import parse_range, parse_subnet

WRITTEN = (names.LOGICAL_SWITCH, names.CIDR, names.EXCLUDE_IPS, names.IP_POOL)
"""Annotations that the controller writes back."""
SHAPING = (
    names.CIDR,
    names.GATEWAY,
    names.EXCLUDE_IPS,
    names.PRIVATE,
    names.ALLOW,
    names.GATEWAY_TYPE,
    names.GATEWAY_NODE,
    names.NAT_OUTGOING,
)
"""Annotations that shape the Subnet that a Namespace wishes for."""

GATEWAY_TYPES = ("distributed", "centralized")
MOST_OF_A_NAME = 253
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

Annotations = Mapping[str, str]
"""The annotations of a Namespace that describe its subnets."""
MOST_ENTRIES = 1000
"""Entries of a list in the spec of a Subnet, as in its schema."""
MOST_NAMES = 64
"""Subnets or IPPools that one annotation may name: each is looked at for every Pod that asks for an address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """The subnets in order, and the pools, if there are any, in which the Pods of a Namespace get their addresses."""

    subnets: tuple[str, ...]
    pools: tuple[str, ...] = ()
    pending: bool = False
    """Whether a wished subnet is not there yet. Then Pods wait, and their users are told nothing."""
    refusal: str = ""
    """Why there is no subnet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """The wish of the user of a Namespace: subnets in order, pools, and the shape of a subnet to be made."""

    switches: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()
    shape: Mapping[str, str] = field(default_factory=dict)

    @property
    def makes(self) -> str | None:
        """The name of the Subnet that is to be made; None when none is."""
        return self.switches[0] if names.CIDR in self.shape and len(self.switches) == 1 else None


def parse_wish(namespace: Namespace, known: Annotations) -> Wish:
    """The wish of the user, which is the part of the annotations that the controller did not write. `known`: the
    annotations that the controller wrote; without a record, those that it would write if there were no wish, because
    another implementation or an older version may have left them.
    """
    annotations = namespace.metadata.annotations
    wished = {
        key: text
        for key in {*WRITTEN, *SHAPING}
        if (text := annotations.get(key, "").strip()) and known.get(key) != text and not _is_answer(key, annotations)
    }
    return Wish(
        switches=parse_list(wished.get(names.LOGICAL_SWITCH, "")),
        pools=parse_list(wished.get(names.IP_POOL, "")),
        shape={key: canonical(key, wished[key]) for key in SHAPING if key in wished},
    )


def _is_answer(key: str, annotations: Mapping[str, str]) -> bool:
    """Whether a text was written back, by whatever implementation: it has an entry for each of several subnets. With
    one subnet a CIDR with `;` is a wish, and is told.
    """
    several = len(parse_list(annotations.get(names.LOGICAL_SWITCH, ""))) != 1
    return ";" in annotations.get(key, "") and (key == names.EXCLUDE_IPS or (key == names.CIDR and several))


def canonical(key: str, text: str) -> str:
    """The text of an annotation in the form in which the API server takes it in a Subnet. One that cannot be read stays
    as it is; `wish_problem` tells of it.
    """
    try:
        match key:
            case names.CIDR:
                return format_list(parse_networks(text))
            case names.GATEWAY:
                return format_list(parse_addresses(text))
            case names.EXCLUDE_IPS:
                return format_list(_format_range(*parse_range(part)) for part in parse_list(text))
            case names.ALLOW:
                return format_list(network for part in parse_list(text) for network in parse_networks(part))
    except ValueError:
        pass
    return text


def written(namespace: Namespace) -> dict[str, str] | None:
    """The annotations that the controller wrote, as recorded: empty when the record is damaged, None when there is
    none.
    """
    record = namespace.metadata.annotations.get(names.WRITTEN_BACK)
    try:
        return None if record is None else msgspec.json.decode(record, type=dict[str, str])
    except msgspec.DecodeError:
        return {}


def parse_names(key: str, text: str) -> tuple[str, ...]:
    """Parse the names of Subnets or IPPools in an annotation. Raises ValueError when they are too many."""
    found = tuple(dict.fromkeys(parse_list(text)))
    check_number(key, "names", found, MOST_NAMES)
    return found


def check_number(key: str, what: str, entries: Collection[str], most: int) -> None:
    """Raise ValueError, with a sentence that names the annotation, when it has too many entries."""
    if len(entries) > most:
        raise ValueError(f"{key} has {len(entries)} {what}; {most} are the most")


def wish_problem(wish: Wish) -> str | None:
    """The problem of a wish in itself, as a sentence; None when there is none."""
    try:
        check_number(names.LOGICAL_SWITCH, "names", wish.switches, MOST_NAMES)
        check_number(names.IP_POOL, "names", wish.pools, MOST_NAMES)
    except ValueError as error:
        return f"annotation {error}"
    if wish.shape and not wish.switches and names.CIDR in wish.shape:
        return (
            f"annotation {names.CIDR} makes a subnet, and {names.LOGICAL_SWITCH} must name it, by a name that no "
            "subnet has yet: set it, with --overwrite where kube-ovn wrote one"
        )
    if wish.shape and len(wish.switches) > 1 and names.CIDR in wish.shape:
        return (
            f"annotation {names.CIDR} makes one subnet, but {names.LOGICAL_SWITCH} names {len(wish.switches)}; "
            "name one, or make Subnet objects and remove the other annotations"
        )
    if wish.shape.keys() - {names.EXCLUDE_IPS} and not wish.switches:
        shaping = format_list(sorted(wish.shape))
        return (
            f"annotations {shaping} need {names.LOGICAL_SWITCH} and {names.CIDR}: they shape a Namespace's own subnet"
        )
    for key in (names.PRIVATE, names.NAT_OUTGOING):
        if wish.shape.get(key, "true") not in ("true", "false"):
            return f"annotation {key} is {wish.shape[key]!r}; it must be true or false"
    return None if wish.makes is None else _shape_problem(wish.makes, wish)


def _shape_problem(name: str, wish: Wish) -> str | None:
    """The problem for which the API server would refuse a wished Subnet, as a sentence; None when there is none. There
    is no Subnet yet that could show it.
    """
    shape = wish.shape
    if not _NAME.fullmatch(name) or len(name) > MOST_OF_A_NAME:
        return f"annotation {names.LOGICAL_SWITCH} is {name!r}, which is no name of an object; use a-z, 0-9, - and ."
    if shape.get(names.GATEWAY_TYPE, GATEWAY_TYPES[0]) not in GATEWAY_TYPES:
        return (
            f"annotation {names.GATEWAY_TYPE} is {shape[names.GATEWAY_TYPE]!r}; it must be {' or '.join(GATEWAY_TYPES)}"
        )
    try:
        excluded = parse_list(shape.get(names.EXCLUDE_IPS, ""))
        for key in (names.EXCLUDE_IPS, names.ALLOW):
            check_number(key, "entries", parse_list(shape.get(key, "")), MOST_ENTRIES)
        parse_subnet(name, shape[names.CIDR], shape.get(names.GATEWAY, ""), excluded)
        for text in parse_list(shape.get(names.ALLOW, "")):
            parse_networks(text)
    except ValueError as error:
        return f"the annotations do not make a subnet: {error}"
    return None


def wished_spec(wish: Wish, namespaces: Sequence[str]) -> dict[str, object]:
    """The fields of the spec that annotations decide, all of them. A field without an annotation has its default."""
    shape = wish.shape
    return {
        "cidrBlock": shape[names.CIDR],
        "namespaces": list(namespaces),
        "gateway": shape.get(names.GATEWAY, ""),
        "gatewayType": shape.get(names.GATEWAY_TYPE, "distributed"),
        "gatewayNode": shape.get(names.GATEWAY_NODE, ""),
        "excludeIps": list(parse_list(shape.get(names.EXCLUDE_IPS, ""))),
        "allowSubnets": list(parse_list(shape.get(names.ALLOW, ""))),
        "private": parse_bool(shape.get(names.PRIVATE, "false")),
        "natOutgoing": parse_bool(shape.get(names.NAT_OUTGOING, "false")),
    }


def matches(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether labels meet all requirements of a selector (meta/v1 LabelSelector)."""
    return all(labels.get(key) == value for key, value in selector.match_labels.items()) and all(
        _holds(requirement, labels) for requirement in selector.match_expressions
    )


def _holds(requirement: SelectorRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value in requirement.values
        case "NotIn":
            return value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    return False


def told(subnets: Iterable[Subnet], pools: Sequence[str]) -> dict[str, str]:
    """The annotations for users and tools to read on a Namespace, with one entry for each subnet. The gateway is among
    the excluded addresses, as users expect.
    """
    listed = list(subnets)
    texts = {
        names.LOGICAL_SWITCH: format_list(subnet.name for subnet in listed),
        names.CIDR: ";".join(format_list(subnet.cidrs) for subnet in listed),
        names.EXCLUDE_IPS: ";".join(_excluded(subnet) for subnet in listed),
        names.IP_POOL: format_list(pools),
    }
    return {key: text for key, text in texts.items() if text}


def told_annotations(namespace: Namespace, wanted: Annotations, wish: Wish) -> dict[str, str | None]:
    """The annotations to write: those of `wanted` that are neither there nor wished for, and the record of those that
    are written. None removes an annotation.
    """
    annotations = namespace.metadata.annotations
    before = written(namespace)
    wished = {*wish.shape, *([names.LOGICAL_SWITCH] if wish.switches else []), *([names.IP_POOL] if wish.pools else [])}
    record = {key: text for key, text in wanted.items() if key not in wished}
    changes: dict[str, str | None] = {key: text for key, text in record.items() if annotations.get(key) != text}
    for key, text in (before or {}).items():
        if key not in record and annotations.get(key) == text and key not in wished:
            changes[key] = None
    if record != before:
        changes[names.WRITTEN_BACK] = msgspec.json.encode(record, order="sorted").decode()
    return changes


def namespace_ref(namespace: Namespace) -> ObjectRef:
    return cluster_ref(Kind.NAMESPACE, namespace.metadata.name, namespace.metadata.uid)


def namespace_problem(namespace: Namespace, message: str) -> Told:
    return Told(object=namespace_ref(namespace), reason=names.VALIDATE_SUBNET_FAILED, message=message)


def _excluded(subnet: Subnet) -> str:
    ranges = (_format_range(low, high) for low, high in subnet.exclude)
    return ",".join([*map(str, subnet.gateways), *ranges])


def _format_range(low: Address, high: Address) -> str:
    return str(low) if low == high else f"{low}..{high}"
