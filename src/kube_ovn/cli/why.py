"""`kubectl ko explain SOURCE TARGET PROTOCOL/PORT`: whether a packet may pass, the objects that decide it, and what
would have to change. Writes nothing.
"""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from kube_ovn.cli.around import Asked, Side, observe_question
from kube_ovn.cli.question import Port, QuestionError, parse_end, parse_port
from kube_ovn.k8s.client import Client as Kube
from kube_ovn.k8s.credentials import load_credentials
from kube_ovn.model.addr import format_list
from kube_ovn.topology.policy.ends import has_port
from kube_ovn.topology.policy.reasons import change, describe, service, silence, title
from kube_ovn.topology.policy.rules import Direction
from kube_ovn.topology.policy.verdict import Packet, Ruling, Verdict, judge

MOST_CAUSES = 10
"""The causes of a verdict that are shown."""


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """An object that decides, or may decide first, and what it says."""

    effect: str
    kind: str
    name: str
    field: str
    text: str


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict at one end."""

    end: str
    allowed: bool
    because: tuple[Said, ...]
    """Empty when no object says anything; `text` has the reason then."""
    text: str
    change: str
    """What would have to change for the other verdict; empty when nothing can be said."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on one packet."""

    source: str
    target: str
    service: str
    families: str
    """The IP versions that the answer is for."""
    allowed: bool
    egress: Turn
    ingress: Turn


async def observe_answers(
    kubeconfig: str, namespace: str, source: str, target: str, port: str
) -> tuple[list[Answer], int]:
    """The answers to a question, and the number of endpoints that are left out. `namespace`: where Pods and Services
    are that are given without one; empty: as kubectl. Raises KubeError, CredentialsError, QuestionError.
    """
    credentials, asked_port = load_credentials(kubeconfig), parse_port(port)
    ends = [parse_end(text, namespace or credentials.namespace or "default") for text in (source, target)]
    async with Kube(credentials) as kube:
        asked = await observe_question(kube, ends[0], ends[1], asked_port)
    return answer(asked, asked_port), asked.left_out


def answer(asked: Asked, port: Port) -> list[Answer]:
    """The answers to a question: one for each target, and for each IP family where these differ. Raises
    QuestionError.
    """
    return [each for target in asked.targets for each in _answer(asked, target, port)]


def packets(asked: Asked, target: Side, port: Port) -> list[Packet]:
    """The packets of a question, one for each IP family that both ends have. Raises QuestionError."""
    known = asked.known
    number = port.number if not target.port else target.port
    if port.name and not target.port:
        number = _named(asked, target, port)
    pairs = [(a, b) for a in asked.source.addresses for b in target.addresses if a.version == b.version]
    if not pairs:
        raise QuestionError(
            f"{format_list(asked.source.addresses)} and {format_list(target.addresses)} have no IP family in common"
        )
    first_of_version = {b.version: (a, b) for a, b in reversed(pairs)}
    ordered = [first_of_version[version] for version in sorted(first_of_version)]
    return [Packet(known.end_at(a), known.end_at(b), port.protocol, number) for a, b in ordered]


def _named(asked: Asked, target: Side, port: Port) -> int:
    """The number that the receiving Pod gives a port."""
    found = None if target.pod is None else asked.known.candidate(target.pod)
    number = None if found is None else found.traits.ports.get((port.protocol, port.name))
    if number is None:
        what = f"Pod {found.name}" if found is not None else format_list(target.addresses)
        raise QuestionError(f"{what} has no {port.protocol.upper()} port named {port.name}: give its number")
    return number


def _answer(asked: Asked, target: Side, port: Port) -> Iterator[Answer]:
    judged = [(packet, judge(packet)) for packet in packets(asked, target, port)]
    alike = len({_essence(verdict) for _, verdict in judged}) == 1
    for packet, verdict in judged[: 1 if alike else None]:
        versions = [each.source.address.version for each, _ in (judged if alike else [(packet, verdict)])]
        yield Answer(
            source=_label(packet.source.pod is not None, asked.source, title(packet.source)),
            target=_label(packet.target.pod is not None, target, title(packet.target)),
            service=service(packet),
            families=" and ".join(f"IPv{version}" for version in versions),
            allowed=verdict.allows,
            egress=_turn(verdict.egress, packet),
            ingress=_turn(verdict.ingress, packet),
        )


def _essence(verdict: Verdict) -> tuple[object, ...]:
    """What is said of a packet, whatever its addresses."""
    turns = (verdict.egress, verdict.ingress)
    return tuple((each.allows, tuple(cause[:4] for cause in (*each.unread, *each.causes))) for each in turns)


def _label(is_pod: bool, side: Side, text: str) -> str:
    """The words for an end; a Pod in the network of a node is named beside its node."""
    if is_pod or side.pod is None or has_port(side.pod):
        return text
    meta = side.pod.metadata
    return f"Pod {meta.namespace}/{meta.name} in the network of {text}"


def _turn(ruling: Ruling, packet: Packet) -> Turn:
    end = packet.source if ruling.direction is Direction.EGRESS else packet.target
    causes = [*ruling.unread, *ruling.causes]
    return Turn(
        end=title(end),
        allowed=ruling.allows,
        because=tuple(
            Said(
                effect=str(each.effect),
                kind=str(each.kind),
                name=each.name,
                field=each.field,
                text=describe(each, packet, ruling.direction),
            )
            for each in causes
        ),
        text="" if ruling.causes else silence(packet, ruling.direction),
        change=change(ruling, packet),
    )


def format_lines(answers: Sequence[Answer], left_out: int) -> Iterator[str]:
    """The answers as lines for people."""
    for number, each in enumerate(answers):
        if number:
            yield ""
        verdict = "allowed" if each.allowed else "denied"
        yield f"{each.source} -> {each.target}, {each.service}, {each.families}: {verdict}"
        for what, turn in (("egress of", each.egress), ("ingress of", each.ingress)):
            yield from _format_turn(what, turn)
            if turn.change and turn.allowed is each.allowed:
                yield f"    {turn.change}"
    if left_out:
        yield f"{left_out} more endpoints are not shown"


def _format_turn(what: str, turn: Turn) -> Iterator[str]:
    yield f"  {what} {turn.end}: {'allowed' if turn.allowed else 'denied'}"
    for each in turn.because[:MOST_CAUSES]:
        yield f"    {' '.join(filter(None, (each.kind, each.name, each.field)))}: {each.text}"
    if len(turn.because) > MOST_CAUSES:
        yield f"    {len(turn.because) - MOST_CAUSES} more objects say the same"
    if turn.text:
        yield f"    {turn.text}"


def print_json(items: Iterable[msgspec.Struct]) -> None:
    print(msgspec.json.format(msgspec.json.encode(list(items)), indent=2).decode())
