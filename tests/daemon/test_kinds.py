"""The controller where a kind of object is missing, forbidden or not understood, and where its passes fail."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Collection

import aiohttp
import pytest
from prometheus_client import REGISTRY

from kube_ovn.controller import progress
from kube_ovn.k8s.client import MERGE, Client, KubeError
from kube_ovn.k8s.credentials import load_credentials
from kube_ovn.k8s.lease import LEASES
from kube_ovn.model import names
from kube_ovn.model.kube import Object
from kube_ovn.model.resource import (
    ADMIN_POLICIES,
    BASELINE_POLICIES,
    CLUSTER_POLICIES,
    ENDPOINT_SLICES,
    IPPOOLS,
    IPS,
    NODES,
    PODS,
    SERVICES,
    SUBNETS,
    Resource,
)
from kube_ovn.ovsdb import commit
from sandbox.command import run
from sandbox.paths import venv_bin
from tests.daemon.crds import install_crds, render_crds, until_established
from tests.daemon.kube_apiserver import KubeApiserver, kube_apiserver
from tests.daemon.ovn import Ovn, ovn
from tests.daemon.test_controller import NODE, World, until

__all__ = ["kube_apiserver", "ovn"]

NOBODY = "nobody"
"""A user of the API server whose rights the tests decide."""
ROLES = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
BINDINGS = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
DEFINITION = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture
async def world(kube_apiserver: KubeApiserver, ovn: Ovn) -> AsyncIterator[World]:
    async with Client(load_credentials(str(kube_apiserver.kubeconfig))) as client:
        made = World(kube_apiserver, ovn, client)
        await made.create_node(NODE)
        yield made
        apply(made, render_crds())  # as they were, for the next
        kinds: tuple[Resource[Object], ...] = (PODS, NODES, IPPOOLS, SERVICES, ENDPOINT_SLICES)
        for kind in kinds:
            for item in (await client.list(kind)).items:
                meta = item.metadata
                if meta.name != "kubernetes":
                    path = kind.path(meta.namespace, meta.name)
                    await client.request("DELETE", path, query={"gracePeriodSeconds": "0"})


def kubectl(world: World, *args: str, text: str | None = None) -> None:
    run([venv_bin() / "kubectl", f"--kubeconfig={world.server.kubeconfig}", *args], text=text)


def apply(world: World, definitions: str) -> None:
    kubectl(world, "apply", "--server-side", "--force-conflicts", "-f", "-", text=definitions)
    until_established(world.server.kubeconfig)


async def install(world: World, kinds: Collection[str]) -> None:
    """The definitions of some kinds, and of no others."""
    kept: tuple[Resource[Object], ...] = (SUBNETS, IPS)
    for kind in kept:
        listed: list[Object] = (await world.client.list(kind)).items if await defined(world, kind) else []
        for item in listed:
            bare = {"metadata": {"finalizers": None}}  # or the definition would never go
            await world.client.request("PATCH", kind.path("", item.metadata.name), body=bare, form=MERGE)
    documents = [each for each in render_crds().split("\n---\n") if any(f"name: {kind}.kube" in each for kind in kinds)]
    assert len(documents) == len(kinds)
    kubectl(world, "delete", "crd", "--all")
    apply(world, "\n---\n".join(documents))


async def defined(world: World, kind: Resource[Object]) -> bool:
    return kind.plural.encode() in await world.client.request("GET", DEFINITION)


def metric(name: str, kind: str) -> float:
    return REGISTRY.get_sample_value(f"kube_ovn_kubernetes_{name}", {"kind": kind}) or 0.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number: int = server.getsockname()[1]
        return number


async def readiness(port: int) -> tuple[int, str]:
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/readyz") as response:
            return response.status, await response.text()
    except aiohttp.ClientConnectionError as error:
        return 0, str(error)


def pool(name: str, ips: object) -> dict[str, object]:
    return {
        "apiVersion": IPPOOLS.version,
        "kind": IPPOOLS.name,
        "metadata": {"name": name},
        "spec": {"subnet": "ovn-default", "ips": ips},
    }


async def make_pool(world: World, name: str, ips: object) -> None:
    await world.client.request("POST", IPPOOLS.path(), body=pool(name, ips))


# --- Kinds that are not there, or not to be read ---


async def test_kinds_that_are_not_installed_are_done_without_until_they_are(world: World) -> None:
    await install(world, ["subnets", "ips", "security-groups"])
    port = free_port()
    async with world.controller(port=port):
        await world.create("a")
        await until("it has its address", world.settled)
        assert (await readiness(port))[0] == 200
        assert metric("unavailable_kinds", "IPPool") == metric("unavailable_kinds", "Vpc") == 1
        install_crds(world.server.kubeconfig)
        await make_pool(world, "few", ["10.16.9.9"])
        await world.create("b", **{names.IP_POOL: "few"})
        await until("the pool is used", world.settled)
        assert (await world.addresses())["b"] == "10.16.9.9"
        await until("nothing is missing", lambda: metric("unavailable_kinds", "Vpc") == 0)


async def test_cluster_wide_policies_count_as_long_as_their_kind_is_installed(world: World) -> None:
    install_crds(world.server.kubeconfig)

    def acls() -> str:
        return world.ovn.nbctl(
            "--bare", "--columns=match", "find", "ACL", "external_ids:policy=AdminNetworkPolicy/deny"
        )

    async with world.controller():
        await world.create("a")
        await until("Pods are served without the kind", world.settled)
        assert metric("unavailable_kinds", ADMIN_POLICIES.name) == 1
        for kind in WIDE:
            apply(world, defining(kind))
        await world.client.request("POST", ADMIN_POLICIES.path(), body=ADMIN_POLICY)
        await until("it is in force", lambda: "ip4.src" in acls())

        async def told() -> bool:
            return "spec.ingress[1].from: it names no peer" in await world.events("deny")

        await until("its user is told what is not understood", told)
        for kind in WIDE:
            kubectl(world, "delete", "crd", f"{kind.plural}.policy.networking.k8s.io")
        await until("it has gone with its kind", lambda: not acls())
        await world.create("b")
        await until("Pods are served still", world.settled)


WIDE: tuple[Resource[Object], ...] = (ADMIN_POLICIES, BASELINE_POLICIES, CLUSTER_POLICIES)
ADMIN_POLICY = {
    "apiVersion": ADMIN_POLICIES.version,
    "kind": ADMIN_POLICIES.name,
    "metadata": {"name": "deny"},
    "spec": {
        "priority": 1,
        "subject": {"namespaces": {}},
        "ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}, {"action": "Allow", "from": []}],
    },
}


def defining(kind: Resource[Object]) -> str:
    """A definition that lets every spec pass, as YAML (which JSON is)."""
    group, _, version = kind.version.partition("/")
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    listed = {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    spec = {
        "group": group,
        "names": {"kind": kind.name, "plural": kind.plural},
        "scope": "Cluster",
        "versions": [listed],
    }
    approved = {"api-approved.kubernetes.io": "unapproved, for a test"}
    meta = {"name": f"{kind.plural}.{group}", "annotations": approved}
    made = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": meta, "spec": spec}
    return json.dumps(made)


async def test_without_a_kind_that_is_needed_it_says_so(world: World) -> None:
    await install(world, ["subnets", "ippools", "vpcs"])
    port = free_port()
    async with world.controller(port=port):

        async def told() -> bool:
            status, text = await readiness(port)
            return status == 503 and "ips cannot be listed" in text

        await until("it says what is missing", told)
        install_crds(world.server.kubeconfig)
        await world.create("a")
        await until("it has its address", world.settled)


async def test_a_kind_that_is_forbidden_loses_nothing(world: World) -> None:
    install_crds(world.server.kubeconfig)
    await serve(world, "10.96.7.7", ["10.16.0.77"])
    async with world.controller():
        await until("it is served", lambda: "10.96.7.7" in balancers(world))
    before = balancers(world)
    await allow(world, ["services", "endpointslices"])
    async with world.controller(token=NOBODY):
        await world.create("a")
        await until("Pods are served", world.settled)
        assert balancers(world) == before, "what is not known is left alone"
        await allow(world, [])
        await serve(world, "10.96.7.7", ["10.16.0.77", "10.16.0.78"])
        await until("what can be read again counts", lambda: "10.16.0.78" in balancers(world))
        before = balancers(world)
        await allow(world, ["services", "endpointslices"])
        world.server.kill()  # watches go on until they end
        await asyncio.to_thread(world.server.start)
        await until("it is forbidden", lambda: metric("unavailable_kinds", "Service") == 1)
        await world.create("b")
        await until("Pods are served", world.settled)
        assert balancers(world) == before, "what was known is"


async def allow(world: World, forbidden: Collection[str]) -> None:
    """Everything to `nobody`, but to read these resources."""
    groups: dict[str, list[str]] = {
        "": ["pods", "nodes", "namespaces", "events", "services", "configmaps"],
        "discovery.k8s.io": ["endpointslices"],
        "networking.k8s.io": ["networkpolicies"],
        "apps": ["statefulsets"],
        "kubeovn.io": ["*"],
        "coordination.k8s.io": ["leases"],
    }
    rules = [
        {"apiGroups": [group], "resources": [each], "verbs": ["*"]}
        for group, resources in groups.items()
        for each in resources
        if each not in forbidden
    ]
    role = {"metadata": {"name": NOBODY}, "rules": rules}
    subject = {"kind": "User", "name": NOBODY, "apiGroup": "rbac.authorization.k8s.io"}
    refers = {"kind": "ClusterRole", "name": NOBODY, "apiGroup": "rbac.authorization.k8s.io"}
    binding = {"metadata": {"name": NOBODY}, "subjects": [subject], "roleRef": refers}
    there = b'"nobody"' in await world.client.request("GET", ROLES)
    if there:
        await world.client.request("PATCH", f"{ROLES}/{NOBODY}", body={"rules": rules}, form=MERGE)
    else:
        await world.client.request("POST", ROLES, body=role)
        await world.client.request("POST", BINDINGS, body=binding)
    async with Client(load_credentials(str(world.server.write_kubeconfig(NOBODY)))) as client:

        async def decided() -> bool:
            review = {"spec": {"resourceAttributes": {"verb": "list", "resource": "services"}}}
            path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
            answer = await client.request("POST", path, body=review)
            return (b'"allowed":true' in answer) == ("services" not in forbidden)

        await until("the rights are known", decided)


async def serve(world: World, address: str, endpoints: list[str]) -> None:
    """A Service with these endpoints."""
    if not (await world.client.list(SERVICES, selector={"fieldSelector": "metadata.name=web"})).items:
        spec = {"clusterIP": address, "ports": [{"port": 80}]}
        await world.client.request("POST", SERVICES.path("default"), body={"metadata": {"name": "web"}, "spec": spec})
    piece = {
        "apiVersion": ENDPOINT_SLICES.version,
        "kind": ENDPOINT_SLICES.name,
        "metadata": {"name": "web-1", "labels": {names.SERVICE_OF_SLICE: "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "", "port": 80, "protocol": "TCP"}],
        "endpoints": [{"addresses": [each], "conditions": {"ready": True}} for each in endpoints],
    }
    await world.client.apply(ENDPOINT_SLICES, "default", "web-1", piece)


def balancers(world: World) -> str:
    return world.ovn.nbctl(
        "--columns=name,vips,external_ids", "find", "Load_Balancer", 'external_ids:service="default/web"'
    )


# --- Objects that are not understood ---


async def test_an_object_that_cannot_be_read_is_told_and_spoils_no_other(world: World) -> None:
    install_crds(world.server.kubeconfig)
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": anything, "status": anything}}}
    version = {"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}, "schema": schema}
    await world.client.request(
        "PATCH", f"{DEFINITION}/ippools.kubeovn.io", body={"spec": {"versions": [version]}}, form=MERGE
    )

    async def taken() -> bool:
        try:
            await make_pool(world, "before", 3)
        except KubeError as error:
            return error.status != 422  # the new schema is not in force yet
        return True

    await until("the schema takes anything", taken)
    await make_pool(world, "good", ["10.16.9.1"])
    async with world.controller():
        await make_pool(world, "after", {"no": "list"})
        for name in ("before", "after"):

            async def told(name: str = name) -> bool:
                events = await world.events(name)
                return "cannot be read" in events and "at `$.spec.ips`" in events and '"Warning"' in events

            await until(f"its user is told of {name}", told)
        assert metric("unreadable_objects", "IPPool") == 2
        await world.create("served", **{names.IP_POOL: "good"})

        async def served() -> bool:
            pod = await world.client.request("GET", PODS.path("default", "served"))
            return b"ovn.kubernetes.io/ip_address" in pod

        await until("the others are served", served)
        for name, address in (("before", "10.16.9.2"), ("after", "10.16.9.3")):
            mended = {"spec": {"ips": [address]}}
            await world.client.request("PATCH", IPPOOLS.path("", name), body=mended, form=MERGE)
            await world.create(f"pod-{name}", **{names.IP_POOL: name})
        await until("what is mended counts", world.settled)
        assert metric("unreadable_objects", "IPPool") == 0


# --- Passes that come to nothing ---


async def test_a_leader_whose_passes_are_refused_says_so_and_leads_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard refuses, as it would in any other process: the API server tells of no node any more."""
    monkeypatch.setattr(progress, "PATIENCE", 1.0)
    install_crds(world.server.kubeconfig)
    await world.create_node("other")
    async with world.controller():
        await until("the nodes have their ports", world.settled)
    for name in (NODE, "other"):
        await world.client.request("DELETE", NODES.path(name=name))
    port = free_port()
    async with world.controller(port=port):

        async def told() -> bool:
            status, text = await readiness(port)
            return status == 503 and "refusing to delete all 2 anchors" in text and f"node-{NODE}" in text

        await until("it says why", told)
        epoch = (await holder(world))[1]
        await asyncio.sleep(4.0)  # longer than the Lease is good for
        assert await holder(world) == ("one", epoch)
        world.ovn.nbctl("lsp-del", "node-other")  # so its administrator says that it is meant

        async def ready() -> bool:
            return (await readiness(port))[0] == 200

        await until("it goes on", ready)


async def test_a_leader_that_cannot_commit_gives_way(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 1.0)
    install_crds(world.server.kubeconfig)
    async with world.controller("one"):
        await world.create("a")
        await until("it leads", world.settled)
        async with world.controller("two"):
            monkeypatch.setattr(commit, "FENCE", f"{commit.FENCE}\0")  # every transaction ends the session
            await world.create("b")

            async def given() -> bool:
                return (await holder(world))[0] == "two"

            await until("the other leads", given)
            monkeypatch.undo()
            await until("it has its address", world.settled)


async def holder(world: World) -> tuple[str, int]:
    spec = (await world.client.get(LEASES, "kube-system", names.CONTROLLER)).spec
    return spec.holder_identity, spec.lease_transitions
