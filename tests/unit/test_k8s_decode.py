"""What the decoders keep, and what they make of surprises."""

import msgspec
import pytest

from kube_ovn.k8s.decode import (
    NOT_UNDERSTOOD,
    Bookmark,
    Changed,
    Deleted,
    Status,
    Unreadable,
    decode_event,
    decode_object,
    decode_page,
    decode_status,
)
from kube_ovn.k8s.lease import LEASES
from kube_ovn.model.resource import NODES, PODS


def pod(**metadata: object) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7", **metadata},
        "spec": {"nodeName": "node1", "hostNetwork": True, "containers": [{"name": "c"}]},
        "status": {"phase": "Running", "podIP": "10.16.0.2"},
    }


def test_paths() -> None:
    assert PODS.path() == "/api/v1/pods"
    assert PODS.path("n", "a", "status") == "/api/v1/namespaces/n/pods/a/status"
    assert NODES.path("ignored", "node1") == "/api/v1/nodes/node1"
    assert LEASES.path("n") == "/apis/coordination.k8s.io/v1/namespaces/n/leases"


def test_only_what_is_read_is_kept() -> None:
    annotations = {
        "ovn.kubernetes.io/allocated": "true",
        "net1.default.kubernetes.io/ip_address": "10.0.0.1",
        "kubectl.kubernetes.io/last-applied-configuration": "x" * 1000,
        "deployment.kubernetes.io/revision": "1",
        "kubernetes.io/config.source": "api",
        "example.com/a": "b",
        "plain": "c",
    }
    got = decode_object(PODS, msgspec.json.encode(pod(annotations=annotations, labels={"app": "x"})))
    assert got.metadata.annotations == {
        "ovn.kubernetes.io/allocated": "true",
        "net1.default.kubernetes.io/ip_address": "10.0.0.1",
    }
    assert got.metadata.labels == {"app": "x"}
    assert (got.spec.node_name, got.spec.host_network, got.status.phase) == ("node1", True, "Running")


def test_objects_that_differ_in_what_is_not_read_are_equal() -> None:
    before = decode_object(PODS, msgspec.json.encode(pod(annotations={"example.com/a": "1"})))
    after = decode_object(PODS, msgspec.json.encode(pod(annotations={"example.com/a": "2"}, resourceVersion="8")))
    assert before == after


def test_page() -> None:
    data = {"metadata": {"resourceVersion": "9", "continue": "more"}, "items": [pod(), pod(uid="v")]}
    page = decode_page(PODS, msgspec.json.encode(data))
    assert [item.metadata.uid for item in page.items] == ["u", "v"]
    assert (page.version, page.next, page.unreadable) == ("9", "more", [])


def test_events() -> None:
    item = decode_object(PODS, msgspec.json.encode(pod()))
    for kind, want in (
        ("ADDED", Changed("7", item)),
        ("MODIFIED", Changed("7", item)),
        ("DELETED", Deleted("7", "n", "a", "u")),
    ):
        assert decode_event(PODS, msgspec.json.encode({"type": kind, "object": pod()})) == want
    bookmark = {"type": "BOOKMARK", "object": {"kind": "Pod", "metadata": {"resourceVersion": "12"}}}
    assert decode_event(PODS, msgspec.json.encode(bookmark)) == Bookmark("12")
    gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}}
    status = decode_event(PODS, msgspec.json.encode(gone))
    assert isinstance(status, Status)
    assert (status.code, status.reason) == (410, "Expired")


@pytest.mark.parametrize("data", [b"", b"<html>", b"[]", b'{"metadata": {}}', b'{"metadata": {"name": 3}}'])
def test_garbage_is_a_decode_error(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_object(PODS, data)


def test_a_refusal_that_is_no_status_becomes_the_message() -> None:
    assert decode_status(b"<html>bad gateway</html>").message == "<html>bad gateway</html>"
    assert decode_status(b"\xff").message == "\ufffd"


def broken(**metadata: object) -> dict[str, object]:
    return {**pod(**metadata), "spec": {"nodeName": 3}}


ERROR = "Expected `str`, got `int` - at `$.spec.nodeName`"


def test_one_object_that_cannot_be_read_spoils_no_other() -> None:
    data = {"metadata": {"resourceVersion": "9"}, "items": [pod(), broken(name="b", uid="v"), pod(uid="w", name="c")]}
    page = decode_page(PODS, msgspec.json.encode(data))
    assert [item.metadata.uid for item in page.items] == ["u", "w"]
    assert page.unreadable == [Unreadable("7", "n", "b", "v", ERROR)]
    assert page.version == "9"


def test_objects_of_which_not_even_the_name_can_be_read_spoil_no_other() -> None:
    nameless: list[object] = [{"metadata": {"name": 3}}, {"spec": {}}, {"metadata": {}}, [], None]
    data = {"metadata": {"resourceVersion": "9"}, "items": [*nameless, pod()]}
    page = decode_page(PODS, msgspec.json.encode(data))
    assert [item.metadata.uid for item in page.items] == ["u"]
    assert [(each.name, bool(each.error)) for each in page.unreadable] == [("", True)] * len(nameless)


def test_bytes_that_are_no_text_spoil_no_other() -> None:
    data = msgspec.json.encode({"metadata": {"resourceVersion": "9"}, "items": [pod(), pod(name="b", uid="v")]})
    page = decode_page(PODS, data.replace(b'"Running"', b'"Run\xffing"', 1))
    assert [item.metadata.uid for item in page.items] == ["v"]
    assert [each.name for each in page.unreadable] == ["a"]


def test_events_about_an_object_that_cannot_be_read() -> None:
    for kind in ("ADDED", "MODIFIED"):
        event = decode_event(PODS, msgspec.json.encode({"type": kind, "object": broken()}))
        assert event == Unreadable("7", "n", "a", "u", ERROR)
    gone = decode_event(PODS, msgspec.json.encode({"type": "DELETED", "object": broken()}))
    assert gone == Deleted("7", "n", "a", "u"), "that it is gone can be understood"
    with pytest.raises(NOT_UNDERSTOOD):
        decode_event(PODS, msgspec.json.encode({"type": "ADDED", "object": {"metadata": {}}}))
