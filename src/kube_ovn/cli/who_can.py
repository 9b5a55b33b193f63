"""`kubectl ko who-can TARGET PROTOCOL/PORT`: which present Pods may send to a target, by workload, and what stops the
others. Writes nothing.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import msgspec

from kube_ovn.cli.around import Asked, Side, observe_target
from kube_ovn.cli.question import Port, QuestionError, parse_end, parse_port
from kube_ovn.cli.why import packets
from kube_ovn.k8s.client import Client as Kube
from kube_ovn.k8s.credentials import load_credentials
from kube_ovn.topology.policy.classes import Alike, classify
from kube_ovn.topology.policy.ends import Known
from kube_ovn.topology.policy.reasons import service, title
from kube_ovn.topology.policy.verdict import Packet, Ruling, Verdict, judge
from kube_ovn.topology.policy.workload import Workload, workload

MOST_NAMED = 3
"""The objects that are named as a reason."""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Pods of one workload with one verdict."""

    workload: str
    pods: int
    allowed: bool
    because: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The Pods that may send to a target, and the others."""

    target: str
    service: str
    groups: tuple[Group, ...]
    """Those that may first."""


async def observe_who_can(kubeconfig: str, namespace: str, target: str, port: str) -> tuple[list[Answer], int]:
    """The answers, one for each endpoint, and the number of endpoints left out. Raises KubeError, CredentialsError,
    QuestionError.
    """
    credentials, asked = load_credentials(kubeconfig), parse_port(port)
    end = parse_end(target, namespace or credentials.namespace or "default")
    async with Kube(credentials) as kube:
        known, targets, left_out = await observe_target(kube, end, asked)
    return [answer(known, each, asked) for each in targets], left_out


def answer(known: Known, target: Side, port: Port) -> Answer:
    """Which Pods may send to one target. Raises QuestionError."""
    hosts = {known.end_at(each).node for each in target.addresses}
    found: Counter[tuple[bool, Workload, str]] = Counter()
    words: list[tuple[str, str]] = []
    others = [each for each in known.pods if target.pod is None or each.metadata.uid != target.pod.metadata.uid]
    for each in classify(replace(known, pods=others), known.policies, hosts):
        try:
            asked = [(packet, judge(packet)) for packet in _packets(known, each, target, port)]
        except QuestionError:
            continue  # no IP family in common: nothing can be sent
        packet, verdict = next(((p, v) for p, v in asked if not v.allows), asked[0])
        words = words or [(title(packet.target), service(packet))]
        partly = (
            "" if len({v.allows for _, v in asked}) == 1 else f"denied over IPv{packet.source.address.version} alone: "
        )
        for one, many in Counter(map(workload, each.pods)).items():
            found[verdict.allows, one, partly + reason(verdict)] += many
    if not words:
        raise QuestionError("there is no other Pod with an address of the target's IP families")
    groups = sorted(found.items(), key=lambda item: (not item[0][0], *item[0][1:]))
    return Answer(
        target=words[0][0],
        service=words[0][1],
        groups=tuple(
            Group(workload=str(one), pods=many, allowed=allows, because=because)
            for (allows, one, because), many in groups
        ),
    )


def _packets(known: Known, alike: Alike, target: Side, port: Port) -> list[Packet]:
    addresses = tuple(end.address for end in alike.ends(known, sends=True))
    return packets(Asked(known=known, source=Side(addresses=addresses), targets=()), target, port)


def reason(verdict: Verdict) -> str:
    """The reason for a verdict, in short."""
    if not verdict.allows:
        ruling = verdict.egress if not verdict.egress.allows else verdict.ingress
        return _name(ruling)
    said = [_name(each) for each in (verdict.egress, verdict.ingress) if each.causes]
    maybe = any(each.unread for each in (verdict.egress, verdict.ingress))
    return ", ".join(said or ["no policy is about it"]) + (", unless an ACL of a Subnet decides first" if maybe else "")


def _name(ruling: Ruling) -> str:
    first, *rest = dict.fromkeys(
        " ".join(filter(None, (each.kind, each.name, each.field.removeprefix("spec.") if ruling.allows else "")))
        for each in ruling.causes
    )
    names = [first, *rest[: MOST_NAMED - 1]]
    more = f" and {len(rest) + 1 - MOST_NAMED} more" if len(rest) >= MOST_NAMED else ""
    return f"{ruling.direction} by {', '.join(names)}{more}"


def format_lines(answers: Sequence[Answer], left_out: int, limit: int) -> Iterator[str]:
    """The answers as lines for people."""
    for number, each in enumerate(answers):
        if number:
            yield ""
        for allows in (True, False):
            groups = [group for group in each.groups if group.allowed is allows]
            pods = sum(group.pods for group in groups)
            yield f"{pods} Pod{'s' * (pods != 1)} may {'' if allows else 'not '}send {each.service} to {each.target}"
            for group in groups[:limit]:
                yield f"  {group.workload}: {group.pods} ({group.because})"
            if len(groups) > limit:
                yield f"  and {len(groups) - limit} more lines (--limit)"
    if left_out:
        yield f"{left_out} more endpoints are not shown"
