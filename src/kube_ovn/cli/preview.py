"""`kubectl ko plan -f FILE`: the packets between present Pods that NetworkPolicies in a file would newly allow or deny.
Writes nothing.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from kube_ovn.cli.around import observe_all
from kube_ovn.k8s.client import Client as Kube
from kube_ovn.k8s.credentials import load_credentials
from kube_ovn.model.policy import NetworkPolicy
from kube_ovn.model.resource import NETWORK_POLICIES
from kube_ovn.topology.policy.compare import Flow, compare, format_ports
from kube_ovn.topology.policy.ends import Known, compile_all, has_port
from kube_ovn.topology.policy.verdict import Policy, is_in
from kube_ovn.topology.policy.workload import Workload

_DOCUMENT = re.compile(r"^---(?=\s|$)", re.MULTILINE)


class PreviewError(Exception):
    """A file cannot be read. The message is one sentence."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Packets between two workloads that are newly allowed or denied."""

    allowed: bool
    source: str
    target: str
    ports: str
    families: str
    """Empty for all that the Pods have."""
    pairs: int
    """The number of pairs of Pods."""


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What a change of policies would do."""

    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    """What is to be known of the policies in the file, one sentence each."""


async def observe_preview(kubeconfig: str, namespace: str, files: Sequence[str], *, delete: bool) -> Preview:
    """Read files and the cluster, and compare. Raises KubeError, CredentialsError, QuestionError, PreviewError."""
    credentials = load_credentials(kubeconfig)
    space = namespace or credentials.namespace or "default"
    given = [each for file in files for each in read_policies(file, space)]
    async with Kube(credentials) as kube:
        known = await observe_all(kube)
    return preview(known, given, delete=delete)


def read_policies(file: str, namespace: str) -> list[NetworkPolicy]:
    """The NetworkPolicies in a file of YAML or JSON; `-` is the standard input. `namespace`: that of objects without
    one. Raises PreviewError.
    """
    try:
        text = Path("/dev/stdin" if file == "-" else file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise PreviewError(f"{file} cannot be read: {error}") from None
    found = [_convert(each, file, namespace) for each in _objects(text, file)]
    if not found:
        raise PreviewError(f"{file} has no NetworkPolicy")
    return found


def _objects(text: str, file: str) -> Iterator[Mapping[str, Any]]:
    """The objects in a text, those in lists among them."""
    for part in _DOCUMENT.split(text):
        try:
            document = msgspec.yaml.decode(part)
        except msgspec.DecodeError as error:
            raise PreviewError(f"{file} is no YAML: {' '.join(str(error).split())}") from None
        if document is None:
            continue
        if not isinstance(document, dict):
            raise PreviewError(f"{file} has a document that is no object")
        items = document.get("items")
        yield from items if isinstance(items, list) else [document]


def _convert(item: Mapping[str, Any], file: str, namespace: str) -> NetworkPolicy:
    kind, version = (item.get(each) for each in ("kind", "apiVersion")) if isinstance(item, dict) else ("", "")
    if (kind, version) != (NETWORK_POLICIES.name, NETWORK_POLICIES.version):
        raise PreviewError(
            f"{file} has {str(kind)[:60] or 'something'} of {str(version)[:60]}: "
            f"only {NETWORK_POLICIES.name} of {NETWORK_POLICIES.version} can be previewed"
        )
    meta = item.get("metadata")
    whole = {**item, "metadata": {"uid": "", "namespace": namespace, **(meta if isinstance(meta, dict) else {})}}
    try:
        return msgspec.convert(whole, NetworkPolicy)
    except msgspec.ValidationError as error:
        raise PreviewError(f"{file} has a {NETWORK_POLICIES.name} that cannot be read: {error}") from None


def preview(known: Known, given: Sequence[NetworkPolicy], *, delete: bool) -> Preview:
    """What would change if these policies were applied, or deleted."""
    compiled = {each.name: each for each in compile_all(given)}
    present = {each.name: each for each in known.policies}
    after = {name: each for name, each in present.items() if name not in compiled}
    if not delete:
        after |= compiled
    flows = compare(known, [after[name] for name in sorted(after)])
    return Preview(
        changes=tuple(_changes(flows)),
        notes=tuple(note for name, each in compiled.items() for note in _notes(known, each, name in present, delete)),
    )


def _notes(known: Known, policy: Policy, is_there: bool, delete: bool) -> Iterator[str]:
    what = f"NetworkPolicy {policy.name}"
    if delete and not is_there:
        yield f"{what} is not there: nothing to delete"
        return
    pods = [found for each in known.pods if has_port(each) and (found := known.candidate(each)) is not None]
    many = sum(is_in(each, policy.compiled.subject) for each in pods)
    verb = "deletes" if delete else "changes" if is_there else "creates"
    yield f"{verb} {what}, which selects {many} Pod{'s' * (many != 1)}"
    if not delete:
        yield from (f"{what}: {fault}" for fault in policy.compiled.faults)


def _changes(flows: Counter[Flow]) -> Iterator[Change]:
    """The flows in words, those with equal words together; what is newly denied first."""
    found: Counter[tuple[bool, Workload, Workload, str, str]] = Counter()
    for flow, pairs in flows.items():
        families = f"IPv{flow.version}" if flow.version else ""
        found[flow.allows, flow.target, flow.source, format_ports(flow), families] += pairs
    for (allows, target, source, ports, families), pairs in sorted(found.items()):
        yield Change(
            allowed=allows, source=str(source), target=str(target), ports=ports, families=families, pairs=pairs
        )


def format_lines(found: Preview, limit: int) -> Iterator[str]:
    """The preview as lines for people: what is newly denied first."""
    yield from found.notes
    for each in found.changes[:limit]:
        families = f" ({each.families} alone)" if each.families else ""
        pairs = f"{each.pairs} pair{'s' * (each.pairs != 1)} of Pods"
        what = "+ allows" if each.allowed else "- denies"
        yield f"{what} {each.source} -> {each.target}: {each.ports}{families}, {pairs}"
    if len(found.changes) > limit:
        yield f"and {len(found.changes) - limit} more changes (--limit)"
    if not found.changes:
        yield "no packet between present Pods changes its verdict"


def print_json(found: Preview) -> None:
    print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
