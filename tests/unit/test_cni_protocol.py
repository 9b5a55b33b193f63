"""CNI requests as the plugin sends them, and the answers in every version of the specification."""

from ipaddress import ip_address, ip_network
from typing import Any

import msgspec
import pytest

from kube_ovn.daemon.cni import (
    VERSIONS,
    CniError,
    Code,
    NetConf,
    format_error,
    format_result,
    host_ports,
    parse_previous,
    parse_request,
)
from kube_ovn.model.host import InterfaceAddress, PodNetwork, Route, Sandbox

CONTAINER = "0123456789abcdef" * 4
ENV = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": CONTAINER,
    "CNI_IFNAME": "eth0",
    "CNI_NETNS": "/var/run/netns/cni-1",
    "CNI_PATH": "/opt/cni/bin",
    "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_UID=u1;K8S_POD_INFRA=x",
}
CONF = {"cniVersion": "0.3.1", "name": "kube-ovn", "type": "kube-ovn", "server_socket": "/s", "unknown": [1]}
SANDBOX = Sandbox(
    container=CONTAINER, interface="eth0", netns="/var/run/netns/cni-1", namespace="default", pod="web-0", uid="u1"
)
NETWORK = PodNetwork(
    uid="u1",
    mac="0a:00:00:00:00:05",
    interfaces=(
        InterfaceAddress(address=ip_address("10.16.0.5"), prefix=16),
        InterfaceAddress(address=ip_address("fd00::5"), prefix=64),
    ),
    gateways=(ip_address("10.16.0.1"), ip_address("fd00::1")),
    routes=(
        Route(to=ip_network("0.0.0.0/0"), via=ip_address("10.16.0.1")),
        Route(to=ip_network("::/0"), via=ip_address("fd00::1")),
    ),
)


def body(conf: Any = CONF, **changes: str | None) -> bytes:
    env = {**ENV, **{f"CNI_{key}": value for key, value in changes.items()}}
    stdin = conf if isinstance(conf, str) else msgspec.json.encode(conf).decode()
    return msgspec.json.encode({"env": {k: v for k, v in env.items() if v is not None}, "stdin": stdin})


def refusal(request: bytes) -> CniError:
    with pytest.raises(CniError) as caught:
        parse_request(request)
    assert "\n" not in str(caught.value)
    return caught.value


def test_add() -> None:
    request = parse_request(body())
    assert request.command == "ADD"
    assert request.conf.cni_version == "0.3.1"
    assert request.sandbox == SANDBOX


@pytest.mark.parametrize("garbage", [b"", b"{", b"[]", b"\xff\xfe", b'{"env": 1, "stdin": ""}', b"\0" * 100])
def test_garbage_is_no_request(garbage: bytes) -> None:
    assert refusal(garbage).code == Code.DECODING_FAILURE


@pytest.mark.parametrize(
    ("conf", "code"),
    [
        ("", Code.DECODING_FAILURE),
        ("no JSON", Code.DECODING_FAILURE),
        ([], Code.INVALID_CONFIG),
        ({**CONF, "cniVersion": 1}, Code.INVALID_CONFIG),
        ({**CONF, "cniVersion": "9.9.9"}, Code.INCOMPATIBLE_VERSION),
        ({**CONF, "prevResult": "x"}, Code.INVALID_CONFIG),
    ],
)
def test_wrong_configuration(conf: Any, code: Code) -> None:
    assert refusal(body(conf)).code == code


@pytest.mark.parametrize(
    "changes",
    [
        {"COMMAND": None},
        {"COMMAND": "MAKE" * 1000},
        {"CONTAINERID": None},
        {"CONTAINERID": ""},
        {"CONTAINERID": "../../etc"},
        {"CONTAINERID": "a b"},
        {"CONTAINERID": "-x"},
        {"IFNAME": None},
        {"IFNAME": ".."},
        {"IFNAME": "a/b"},
        {"IFNAME": "a b"},
        {"IFNAME": "sixteen-chars-16"},
        {"IFNAME": "ünïcödé-äöü"},  # 11 characters, 17 bytes
        {"NETNS": None},
        {"NETNS": "run/netns/x"},
        {"NETNS": "/run/netns/../../etc/passwd"},
        {"NETNS": "/run/netns/.."},
        {"ARGS": None},
        {"ARGS": ";;;=;"},
        {"ARGS": "K8S_POD_NAMESPACE=default"},
        {"ARGS": "K8S_POD_NAMESPACE=default;K8S_POD_NAME=../x"},
        {"ARGS": "K8S_POD_NAMESPACE=De fault;K8S_POD_NAME=x"},
    ],
)
def test_wrong_environment(changes: dict[str, str | None]) -> None:
    assert refusal(body(**changes)).code == Code.INVALID_ENVIRONMENT


def test_ports_of_the_node_that_a_pod_asks_for() -> None:
    mappings = [
        {"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""},  # containerd
        {"hostPort": 53, "containerPort": 53, "protocol": "udp", "hostIP": "fd00::1"},
        {"hostPort": 22, "containerPort": 22, "hostIP": "::ffff:192.0.2.1"},  # portmap takes it for the IPv4 address
    ]
    assert [str(spot) for spot in host_ports(with_ports(*mappings))] == [
        "0.0.0.0:8080/TCP",
        "[fd00::1]:53/UDP",
        "192.0.2.1:22/TCP",
    ]
    assert host_ports(NetConf()) == ()


@pytest.mark.parametrize(
    "mapping",
    [
        {},
        {"hostPort": "x"},
        {"hostPort": 70000},
        {"hostPort": -1},
        {"hostPort": 1, "hostIP": "x"},
        {"hostPort": 1, "hostIP": "::1%x\nadd table inet t"},
        {"hostPort": 1, "hostIP": "::1\nadd table inet t"},
        {"hostPort": 1, "protocol": "tcp\nadd table inet t"},
    ],
)
def test_what_is_no_port_of_a_node(mapping: dict[str, int | str]) -> None:
    with pytest.raises(CniError, match="is no port of a node"):
        host_ports(with_ports(mapping))


def with_ports(*mappings: dict[str, Any]) -> NetConf:
    return msgspec.convert({"runtimeConfig": {"portMappings": mappings}}, NetConf)


def test_delete_needs_little() -> None:
    """What is left of a Pod must go, even when the runtime has forgotten most of it."""
    sandbox = parse_request(body(COMMAND="DEL", NETNS=None, ARGS=None)).sandbox
    assert sandbox is not None
    assert sandbox.link == SANDBOX.link


def test_edges_of_names() -> None:
    """A container id of one character and an interface name of fifteen are valid, and no two links share a name."""
    pairs = [(c, i) for c in ("a", "b", CONTAINER, "f" * 64) for i in ("eth0", "eth1", "fifteen-chars-x")]
    links = set()
    for container, interface in pairs:
        sandbox = parse_request(body(CONTAINERID=container, IFNAME=interface)).sandbox
        assert sandbox is not None
        links.add(sandbox.link)
    assert len(links) == len(pairs)
    assert all(len(link) <= 15 and link.endswith("_h") for link in links)
    assert f"{CONTAINER[:12]}_h" in links


def test_status_and_gc_need_no_sandbox() -> None:
    attachments = [{"containerID": "a", "ifname": "eth0"}]
    conf = {**CONF, "cniVersion": "1.1.0", "cni.dev/valid-attachments": attachments}
    request = parse_request(body(conf, COMMAND="GC", CONTAINERID=None, IFNAME=None, NETNS=None, ARGS=None))
    assert request.sandbox is None
    assert request.conf.valid_attachments is not None
    assert [(a.container_id, a.ifname) for a in request.conf.valid_attachments] == [("a", "eth0")]
    assert parse_request(body(COMMAND="GC")).conf.valid_attachments is None


@pytest.mark.parametrize("version", VERSIONS)
def test_result_of_each_version(version: str) -> None:
    result = msgspec.json.decode(format_result(version, SANDBOX, NETWORK, 1400))
    assert result["cniVersion"] == version
    if version < "0.3.0":
        assert result["ip4"] == {
            "ip": "10.16.0.5/16",
            "gateway": "10.16.0.1",
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.16.0.1"}],
        }
        assert result["ip6"]["routes"] == [{"dst": "::/0", "gw": "fd00::1"}]
        return
    assert [ip["address"] for ip in result["ips"]] == ["10.16.0.5/16", "fd00::5/64"]
    assert [ip.get("version") for ip in result["ips"]] == (["4", "6"] if version < "1.0.0" else [None, None])
    pod = result["interfaces"][result["ips"][0]["interface"]]
    assert (pod["name"], pod["mac"], pod["sandbox"]) == ("eth0", NETWORK.mac, SANDBOX.netns)
    assert pod.get("mtu") == (1400 if version == "1.1.0" else None)
    assert result["routes"][1] == {"dst": "::/0", "gw": "fd00::1"}


def test_check_reads_what_add_answered() -> None:
    result = msgspec.json.decode(format_result("0.4.0", SANDBOX, NETWORK, 1400))
    request = parse_request(body({**CONF, "cniVersion": "0.4.0", "prevResult": result}, COMMAND="CHECK"))
    assert parse_previous(request.conf, SANDBOX) == (NETWORK.mac, frozenset({"10.16.0.5/16", "fd00::5/64"}))
    with pytest.raises(CniError, match=r"prevResult is missing .*default/web-0"):
        parse_previous(parse_request(body(COMMAND="CHECK")).conf, SANDBOX)


def test_error_is_what_the_runtime_reads() -> None:
    error = msgspec.json.decode(format_error("1.0.0", CniError(Code.TRY_AGAIN_LATER, "wait")))
    assert error == {"cniVersion": "1.0.0", "code": 11, "msg": "wait"}
