"""`kubectl ko explain`, `who-can`, `plan -f` and `policies` on a real API server: its selectors, and objects as it has
them.
"""

import json
from pathlib import Path
from typing import Any

from kube_ovn.cli import listing, preview, who_can, why
from kube_ovn.k8s.client import MERGE, Client
from kube_ovn.k8s.credentials import load_credentials
from kube_ovn.model import names
from kube_ovn.model.kube import Pod
from kube_ovn.model.resource import ENDPOINT_SLICES, NAMESPACES, NETWORK_POLICIES, NODES, PODS, SERVICES, SUBNETS
from tests.daemon.crds import install_crds
from tests.daemon.kube_apiserver import KubeApiserver, kube_apiserver

__all__ = ["kube_apiserver"]

DENY: dict[str, Any] = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "deny", "namespace": "shop"},
    "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
}


async def _make_pod(client: Client, name: str, address: str, *, host: bool = False) -> Pod:
    ports = [{"name": "http", "containerPort": 8080}] if not host else []
    meta = {"name": name, "labels": {"app": name}, "annotations": {} if host else {names.IP_ADDRESS: address}}
    spec = {"nodeName": "n", "hostNetwork": host, "containers": [{"name": "c", "image": "i", "ports": ports}]}
    await client.create(PODS, "shop", {"metadata": meta, "spec": spec})
    status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
    return await client.patch(PODS, "shop", name, {"status": status}, form=MERGE, subresource="status")


async def _make(client: Client) -> None:
    await client.create(NAMESPACES, "", {"metadata": {"name": "shop"}})
    await client.create(NODES, "", {"metadata": {"name": "n", "annotations": {names.IP_ADDRESS: "100.64.0.2"}}})
    status: dict[str, Any] = {"addresses": [{"type": "InternalIP", "address": "172.30.0.11"}]}
    await client.patch(NODES, "", "n", {"status": status}, form=MERGE, subresource="status")
    subnet = {"apiVersion": "kubeovn.io/v1", "kind": "Subnet", "metadata": {"name": "s"}}
    await client.create(SUBNETS, "", {**subnet, "spec": {"cidrBlock": "10.16.0.0/16"}})
    status = {"cidrBlock": "10.16.0.0/16", "gateway": "10.16.0.1"}
    await client.patch(SUBNETS, "", "s", {"status": status}, form=MERGE, subresource="status")
    await _make_pod(client, "web", "10.16.0.2")
    await _make_pod(client, "db", "10.16.0.3")
    await _make_pod(client, "agent", "172.30.0.11", host=True)
    ports = [{"name": "front", "port": 80, "targetPort": 8080}]
    await client.create(SERVICES, "shop", {"metadata": {"name": "web"}, "spec": {"ports": ports}})
    meta = {"name": "web-1", "labels": {names.SERVICE_OF_SLICE: "web"}}
    target = {"kind": "Pod", "namespace": "shop", "name": "web"}
    sliced = {
        "metadata": meta,
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.16.0.2"], "targetRef": target, "conditions": {"ready": True}}],
        "ports": [{"name": "front", "port": 8080, "protocol": "TCP"}],
    }
    await client.create(ENDPOINT_SLICES, "shop", sliced)


async def test_commands_on_a_real_api_server(kube_apiserver: KubeApiserver, tmp_path: Path) -> None:
    install_crds(kube_apiserver.kubeconfig)
    config, file = str(kube_apiserver.kubeconfig), tmp_path / "deny.json"
    file.write_text(json.dumps(DENY))

    async def verdict(source: str, target: str, port: str) -> tuple[str, bool]:
        (found,), _ = await why.observe_answers(config, "shop", source, target, port)
        return found.service, found.allowed

    async with Client(load_credentials(config)) as client:
        await _make(client)
        assert await verdict("db", "web", "tcp/http") == ("TCP 8080", True)
        planned = await preview.observe_preview(config, "", [str(file)], delete=False)
        await client.create(NETWORK_POLICIES, "shop", DENY)
    assert [(each.source, each.target, each.ports) for each in planned.changes] == [
        ("Pod shop/web", "Pod shop/db", "everything"),
        ("Pod shop/db", "Pod shop/web", "everything"),
    ]
    assert await verdict("db", "10.16.0.2", "tcp/8080") == ("TCP 8080", False)
    assert await verdict("db", "service/web", "tcp/80") == ("TCP 8080", False)
    assert await verdict("shop/agent", "web", "tcp/1") == ("TCP 1", True)
    assert await verdict("web", "172.30.0.11", "icmp") == ("ICMP", True)
    (answer,), _ = await who_can.observe_who_can(config, "shop", "web", "tcp/8080")
    assert [(each.workload, each.allowed) for each in answer.groups] == [
        ("Pod shop/agent", True),
        ("Pod shop/db", False),
    ]
    (line,) = await listing.observe_lines(config)
    assert (line.name, line.pods, line.ingress, line.egress, line.faults) == ("deny", 2, 0, None, ())
