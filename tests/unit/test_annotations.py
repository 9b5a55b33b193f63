"""Annotations under our domains that nothing reads are told, with the name that was meant; others are left alone."""

import msgspec
import pytest

from kube_ovn.k8s.decode import decode_object
from kube_ovn.model import names
from kube_ovn.model.annotations import LATER, PODS_READ, READ, SILENT, fault_of
from kube_ovn.model.kube import Namespace, Node, Object, Pod
from kube_ovn.model.network import Kind
from kube_ovn.model.resource import PODS
from kube_ovn.topology.graph import Topology
from tests.small_clusters import Api, fabric, namespace, node, pod, service, settle, settled

PREFIX = "ovn.kubernetes.io/"


def annotated(item: Node, key: str) -> Node:
    return msgspec.structs.replace(item, metadata=msgspec.structs.replace(item.metadata, annotations={key: "x"}))


def told(*objects: Object) -> list[str]:
    topology = settled(Api(node("node1", 1), namespace("default"), *objects))
    return sorted(each.message for each in topology.told.values() if each.reason == names.ANNOTATION_IGNORED)


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        (f"{PREFIX}ip_adress", f"; did you mean {names.IP_ADDRESS}?"),
        (f"{PREFIX}ip-address", f"; did you mean {names.IP_ADDRESS}?"),
        (f"{PREFIX}IP_POOL", f"; did you mean {names.IP_POOL}?"),
        (f"{PREFIX}dhcp_v4_options", f"; did you mean {names.DHCP_V4_OPTIONS}?"),
        (f"{PREFIX}egress_rates", f"; did you mean {PREFIX}egress_rate?"),
        ("kubeovn.io/ip_address", f"; did you mean {names.IP_ADDRESS}?"),
        ("kube-ovn.io/logical-switch", f"; did you mean {names.LOGICAL_SWITCH}?"),
        ("onv.kubernetes.io/logical_switch", f"; did you mean {names.LOGICAL_SWITCH}?"),
        ("net1.default.ovn.kubernetes.io/ip_adress", "; did you mean net1.default.ovn.kubernetes.io/ip_address?"),
        (f"{PREFIX}zzz", "; remove it"),
    ],
)
def test_what_is_misspelt_is_told_with_what_was_meant(key: str, meant: str) -> None:
    assert told(pod("a", annotations={key: "x"})) == [f"annotation {key} is unknown{meant}"]


@pytest.mark.parametrize("key", [f"{PREFIX}mirror", f"{PREFIX}ingress_rate", "net1.default.kubernetes.io/ip_address"])
def test_what_comes_later_is_told_once(key: str) -> None:
    assert told(pod("a", annotations={key: "x"})) == [f"annotation {key} is not supported yet; remove it"]


def test_what_is_for_another_kind_is_told() -> None:
    assert told(pod("a", annotations={names.EXCLUDE_IPS: "10.16.0.9", names.CHASSIS: "c"})) == [
        f"annotation {names.CHASSIS} does nothing on a Pod: it is for a Node; remove it; "
        f"annotation {names.EXCLUDE_IPS} does nothing on a Pod: it is for a Namespace; write it there"
    ]
    item = Namespace(metadata=msgspec.structs.replace(namespace("b").metadata, annotations={names.PORT_SECURITY: "x"}))
    assert told(item) == [
        f"annotation {names.PORT_SECURITY} does nothing on a Namespace: it is for a Pod; write it there"
    ]
    item = Namespace(metadata=msgspec.structs.replace(item.metadata, annotations={names.PERMIT_SPOOFING: "true"}))
    assert told(item) == [
        f"annotation {names.PERMIT_SPOOFING} does nothing on a Namespace: it is a label; set it as one"
    ]


@pytest.mark.parametrize(
    "key",
    [
        *sorted(PODS_READ),
        *(PREFIX + key for key in sorted(SILENT[Kind.POD])),
        "net1.default.ovn.kubernetes.io/vlan_id",
        "batch.kubernetes.io/job-completion-index",
        "resource.kubernetes.io/pod-claim-name",
        "net1.default.kubernetes.io/note",
        "net1.default.kubernetes.io/allocated",
        "net1.default.ovn.kubernetes.io/allocated",
        "kube-ovn.io/kube-ovn-tls-cert-hash",
    ],
)
def test_others_are_left_alone(key: str) -> None:
    assert fault_of(Kind.POD, key) == ""


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (Kind.NODE, "kubeadm.alpha.kubernetes.io/cri-socket"),
        (Kind.NODE, "nfd.node.kubernetes.io/feature-labels"),
        (Kind.NODE, "net1.provider-network.kubernetes.io/interface"),
        (Kind.NODE, "machine.kubernetes.io/limit"),
        (Kind.SERVICE, "service.kubernetes.io/topology-mode"),
        (Kind.SERVICE, "service.beta.kubernetes.io/aws-load-balancer-type"),
        *((kind, PREFIX + key) for kind, keys in SILENT.items() for key in sorted(keys)),
        *((kind, key) for kind, keys in READ.items() for key in sorted(keys)),
    ],
)
def test_others_are_left_alone_on_each_kind(kind: Kind, key: str) -> None:
    assert fault_of(kind, key) == ""


def test_what_the_first_implementation_wrote_is_told_where_it_did_not() -> None:
    assert fault_of(Kind.POD, f"{PREFIX}vpc") == f"annotation {PREFIX}vpc is unknown; did you mean {PREFIX}vip?"
    assert fault_of(Kind.POD, "kubeovn.io/vlan_id") == "annotation kubeovn.io/vlan_id is unknown; remove it"


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (
            service("web", "10.96.0.20", annotations={f"{PREFIX}helth_check": "true"}),
            f"annotation {PREFIX}helth_check is unknown; did you mean {names.HEALTH_CHECK}?",
        ),
        (
            service("web", "10.96.0.20", annotations={f"{PREFIX}bgp": "true"}),
            f"annotation {PREFIX}bgp is not supported yet; remove it",
        ),
        (
            service("web", "10.96.0.20", annotations={names.PORT_SECURITY: "true"}),
            f"annotation {names.PORT_SECURITY} does nothing on a Service: it is for a Pod; write it there",
        ),
        (
            annotated(node("node2", 2), f"{PREFIX}tunnel_interface"),
            f"annotation {PREFIX}tunnel_interface is not supported yet; remove it",
        ),
        (
            annotated(node("node2", 2), names.EXCLUDE_IPS),
            f"annotation {names.EXCLUDE_IPS} does nothing on a Node: it is for a Namespace; write it there",
        ),
        (
            annotated(node("node2", 2), names.GATEWAY_FOR_NAMESPACES),
            f"annotation {names.GATEWAY_FOR_NAMESPACES} does nothing on a Node: it is a label; set it as one",
        ),
    ],
)
def test_users_of_services_and_nodes_are_told(item: Object, message: str) -> None:
    assert told(item) == [message]


def test_a_message_is_worked_out_once_for_all_objects_that_are_alike() -> None:
    odd = {f"{PREFIX}ip_adress": "10.16.0.9"}
    api = Api(node("node1", 1), namespace("default"), *(pod(f"a{number}", annotations=odd) for number in range(20)))
    topology = settled(api)
    messages = next(each for each in topology.graph.derivations if each.name == "messages on Pods' annotations")
    assert sum(each.reason == names.ANNOTATION_IGNORED for each in topology.told.values()) == 20
    assert messages.worked == 1


def test_what_the_controller_writes_is_never_told() -> None:
    api = Api(node("node1", 1), namespace("default"), pod("a"))
    topology = settled(api)
    assert api.get(Pod, "a", "default").metadata.annotations
    assert api.get(Namespace, "default").metadata.annotations
    assert api.get(Node, "node1").metadata.annotations
    assert not topology.told


def test_no_row_and_no_address_depends_on_it() -> None:
    plain, odd = (settled(Api(node("node1", 1), namespace("default"), each)) for each in (pod("a"), _odd()))
    assert plain.state == odd.state
    assert plain.grants == odd.grants


def test_it_is_told_of_a_pod_that_gets_no_address_as_well() -> None:
    item = pod("a", annotations={**_odd().metadata.annotations, names.IP_ADDRESS: "nonsense"})
    topology = settled(Api(node("node1", 1), namespace("default"), item))
    assert {each.reason for each in topology.told.values()} == {
        names.ANNOTATION_IGNORED,
        names.VALIDATE_POD_NETWORK_FAILED,
    }


def test_it_goes_with_the_annotation() -> None:
    api, topology = Api(node("node1", 1), namespace("default"), _odd()), Topology(fabric())
    settle(topology, api)
    (first,) = topology.take_changed_told().values()
    assert first is not None
    api.put(pod("a"))
    settle(topology, api)
    assert list(topology.take_changed_told().values()) == [None]


def test_many_are_told_in_one_sentence_that_ends() -> None:
    (message,) = told(pod("a", annotations={f"{PREFIX}odd{number:03}": "x" for number in range(100)}))
    assert message.endswith("annotation ovn.kubernetes.io/odd007 is unknown; remove it; and more")


def test_they_come_through_the_decoder() -> None:
    annotations = {"kubeovn.io/a": "1", "kube-ovn.io/b": "2", "example.com/c": "3", "kubeovn.io": "4"}
    data = {"metadata": {"name": "a", "uid": "u", "annotations": annotations}}
    got = decode_object(PODS, msgspec.json.encode(data))
    assert got.metadata.annotations == {"kubeovn.io/a": "1", "kube-ovn.io/b": "2"}


def test_nothing_is_both_read_and_for_later() -> None:
    for kind, names_read in READ.items():
        read, later = {key.removeprefix(PREFIX) for key in names_read}, LATER.get(kind, set[str]())
        assert not read & later
        assert not SILENT.get(kind, set[str]()) & (later | read)


def _odd() -> Pod:
    return pod("a", annotations={f"{PREFIX}ip_adress": "10.16.0.9"})
