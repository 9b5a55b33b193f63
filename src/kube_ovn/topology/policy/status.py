"""What users are told of the enforcement of a policy: an annotation on it, shaped as a condition, and an Event."""

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from kube_ovn.derive import Graph, Read, Source
from kube_ovn.model import names
from kube_ovn.model.admin_policy import AdminName, AdminPolicy
from kube_ovn.model.network import Kind, ObjectRef, Told
from kube_ovn.model.policy import Enforced, NetworkPolicy, Version
from kube_ovn.model.writes import Annotate, Aspect, WriteKey
from kube_ovn.topology.inputs import Inputs, Name
from kube_ovn.topology.outputs import Outputs, Wanted

Policy: TypeAlias = NetworkPolicy | AdminPolicy


def define(graph: Graph, inputs: Inputs, outputs: Outputs) -> Source[Any, Version]:
    """Derive the annotations and Events of policies. Returns the policies that are not yet known to be enforced
    on all nodes.
    """
    kinds: tuple[Source[Any, Any], ...] = (inputs.policies, inputs.admin, inputs.baseline, inputs.cluster)
    waiting = [_define_kind(graph, inputs, outputs, each) for each in kinds]
    return graph.union("policies that are not enforced everywhere", waiting)


def _define_kind(graph: Graph, inputs: Inputs, outputs: Outputs, policies: Source[Any, Any]) -> Source[Any, Version]:
    def seen(read: Read, policy: Policy) -> Enforced | None:
        found = read.get(inputs.enforced, policy.metadata.uid)
        return found if found is not None and found.generation == policy.metadata.generation else None

    def write(read: Read, name: Name | AdminName, policy: Policy) -> Wanted | None:
        found = seen(read, policy)
        if found is None or (text := _condition(found)) == policy.metadata.annotations.get(names.ENFORCED):
            return None
        key = WriteKey(policy.metadata.uid, Aspect.ANNOTATIONS)
        return Wanted(key, Annotate(object=policy_ref(policy), annotations={names.ENFORCED: text}))

    def tell(read: Read, name: Name | AdminName, policy: Policy) -> Told | None:
        if (found := seen(read, policy)) is None:
            return None
        message = f"generation {found.generation} is enforced {found}"
        return Told(object=policy_ref(policy), reason=names.POLICY_ENFORCED, message=message, normal=found.everywhere)

    def wait(read: Read, name: Name | AdminName, policy: Policy) -> Version | None:
        meta = policy.metadata
        known = _known(meta.annotations)
        is_told = known.get("status") == "True" and known.get("observedGeneration") == meta.generation
        return None if is_told else Version(meta.uid, meta.generation)

    outputs.writes.follow(graph.derive(f"annotations of {policies.name}", policies, write))
    outputs.telling.follow(graph.derive(f"enforcement of {policies.name}", policies, tell))
    return graph.derive(f"{policies.name} that are not enforced everywhere", policies, wait)


def policy_ref(policy: Policy) -> ObjectRef:
    """The reference to a policy."""
    meta = policy.metadata
    return ObjectRef(kind=Kind(type(policy).__name__), namespace=meta.namespace, name=meta.name, uid=meta.uid)


def _condition(found: Enforced) -> str:
    """The annotation: a condition as in meta/v1, without times and reason."""
    status = "True" if found.everywhere else "False"
    return json.dumps(
        {"type": "Enforced", "status": status, "observedGeneration": found.generation, "message": str(found)}
    )


def _known(annotations: Mapping[str, str]) -> Mapping[str, object]:
    """What the annotation says; nothing when it is not one of ours."""
    try:
        found = json.loads(annotations.get(names.ENFORCED, ""))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
