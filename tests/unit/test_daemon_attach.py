"""Requests that wait for what does not come: what the runtime, and with it the Pod's user, is told."""

import pytest

from kube_ovn.daemon import attach
from kube_ovn.daemon.attach import Pods
from kube_ovn.daemon.cni import CniError, Code, NetConf, Request
from kube_ovn.daemon.node import NodeNetwork
from kube_ovn.daemon.ports import Ports
from kube_ovn.daemon.settings import Settings
from kube_ovn.daemon.view import View
from kube_ovn.model import names
from kube_ovn.model.crd import IP, IPSpec
from kube_ovn.model.host import Sandbox
from kube_ovn.model.kube import ObjectMeta, Pod
from kube_ovn.model.vswitch import TABLES
from kube_ovn.ovsdb.client import Client
from tests.node_view import GRANTED

NO_ADDRESS = "the controller has given it no address yet; `kubectl describe pod -n ns web` says why"
NO_ROUTES = "its node has no routes and rules for its subnet yet; the log of kube-ovn-cniserver there says why"


@pytest.mark.parametrize(
    ("annotations", "recorded", "sentence"),
    [
        ({}, GRANTED[names.IP_ADDRESS], NO_ADDRESS),
        (GRANTED, "", NO_ADDRESS),
        (GRANTED, "10.16.0.6", NO_ADDRESS),
        (GRANTED, GRANTED[names.IP_ADDRESS], NO_ROUTES),
    ],
)
async def test_give_up(
    monkeypatch: pytest.MonkeyPatch, annotations: dict[str, str], recorded: str, sentence: str
) -> None:
    monkeypatch.setattr(attach, "ADD_DEADLINE", 0.05)
    ports = Ports(Client(("unix:/nowhere",), "Open_vSwitch", TABLES, on_change=lambda: None))
    view = View(Settings())
    pod = Pod(metadata=ObjectMeta(name="web", namespace="ns", uid="u", annotations=annotations))
    spec = IPSpec(subnet=GRANTED[names.LOGICAL_SWITCH], ip_address=recorded, owner_uid="u")
    view.pods.store.replace([pod], 0.0)
    view.ips.store.replace([IP(metadata=ObjectMeta(name="web.ns", uid="r"), spec=spec)], 0.0)
    node = NodeNetwork(Settings(), view, lambda: (), ports, lambda name, message: None)
    sandbox = Sandbox(container="c" * 64, interface="eth0", netns="/x", namespace="ns", pod="web", uid="u")
    with pytest.raises(CniError) as caught:
        await Pods(view, node, ports).add(Request(command="ADD", conf=NetConf(), sandbox=sandbox))
    assert caught.value.code is Code.TRY_AGAIN_LATER
    assert str(caught.value) == f"Pod ns/web: {sentence} (waited 0.05 s)"


@pytest.mark.parametrize(
    ("runtime", "annotations", "known"),
    [("u", {}, True), ("", {}, True), ("hash", {}, False), ("hash", {names.CONFIG_HASH: "hash"}, True)],
)
async def test_a_static_pod_is_known_by_the_uid_of_its_kubelet(
    monkeypatch: pytest.MonkeyPatch, runtime: str, annotations: dict[str, str], known: bool
) -> None:
    monkeypatch.setattr(attach, "ADD_DEADLINE", 0.05)
    ports = Ports(Client(("unix:/nowhere",), "Open_vSwitch", TABLES, on_change=lambda: None))
    view = View(Settings())
    meta = ObjectMeta(name="web", namespace="ns", uid="u", annotations={**GRANTED, **annotations})
    spec = IPSpec(subnet=GRANTED[names.LOGICAL_SWITCH], ip_address=GRANTED[names.IP_ADDRESS], owner_uid="u")
    view.pods.store.replace([Pod(metadata=meta)], 0.0)
    view.ips.store.replace([IP(metadata=ObjectMeta(name="web.ns", uid="r"), spec=spec)], 0.0)
    node = NodeNetwork(Settings(), view, lambda: (), ports, lambda name, message: None)
    sandbox = Sandbox(container="c" * 64, interface="eth0", netns="/x", namespace="ns", pod="web", uid=runtime)
    with pytest.raises(CniError) as caught:
        await Pods(view, node, ports).add(Request(command="ADD", conf=NetConf(), sandbox=sandbox))
    assert (NO_ROUTES if known else NO_ADDRESS) in str(caught.value)
