"""`kubectl ko explain SOURCE TARGET PORT`: what is read for it, and what is said."""

import json
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from kube_ovn.cli import main as cli
from kube_ovn.cli.around import observe_question
from kube_ovn.cli.question import Port, QuestionError, Ref, Sort, parse_end, parse_port
from kube_ovn.cli.why import Answer, answer, format_lines
from kube_ovn.model import names
from kube_ovn.model.addr import parse_address
from kube_ovn.model.crd import Subnet
from kube_ovn.model.kube import EndpointSlice, Namespace, Node, Pod, PodIP, PodStatus, Service
from kube_ovn.model.policy import NetworkPolicy
from tests.fakes.listed_kube import ListedKube
from tests.golden.scenario import load
from tests.small_clusters import Api, settle


async def answers(api: Api, source: str, target: str, port: str) -> list[Answer]:
    kube: Any = ListedKube(api)
    asked = parse_port(port)
    found = await observe_question(kube, parse_end(source, "default"), parse_end(target, "default"), asked)
    return answer(found, asked)


async def text(api: Api, source: str, target: str, port: str) -> str:
    return "\n".join(format_lines(await answers(api, source, target, port), 0))


@pytest.fixture(scope="module")
def shop() -> Api:
    """The golden scenario of NetworkPolicies, and a Service before both Pods of `web`."""
    topology, api = load("policies")
    ports = [{"name": "web", "port": 80, "protocol": "TCP"}]
    meta = {"name": "web", "namespace": "shop", "uid": "service"}
    spec = {"clusterIPs": ["10.96.0.20"], "ports": ports}
    api.put(msgspec.convert({"metadata": meta, "spec": spec}, Service))
    endpoints = [
        {"addresses": [_address(api, name)], "targetRef": {"kind": "Pod", "namespace": "shop", "name": name}}
        for name in ("web", "web2")
    ]
    sliced = {
        "metadata": {**meta, "name": "web-1", "uid": "slice", "labels": {names.SERVICE_OF_SLICE: "web"}},
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "web", "port": 8080, "protocol": "TCP"}],
    }
    api.put(msgspec.convert(sliced, EndpointSlice))
    settle(topology, api)
    return api


@pytest.fixture(scope="module")
def private() -> Api:
    return load("subnet-private")[1]


def _address(api: Api, name: str, namespace: str = "shop") -> str:
    return api.get(Pod, name, namespace).metadata.annotations[names.IP_ADDRESS].split(",")[0]


@pytest.mark.parametrize(
    ("words", "end"),
    [
        ("web", Ref(Sort.POD, "here", "web")),
        ("shop/web", Ref(Sort.POD, "shop", "web")),
        ("pod/shop/web", Ref(Sort.POD, "shop", "web")),
        ("service/web", Ref(Sort.SERVICE, "here", "web")),
        ("svc/shop/web", Ref(Sort.SERVICE, "shop", "web")),
        ("10.16.0.5", parse_address("10.16.0.5")),
        ("[fd00::5]", parse_address("fd00::5")),
    ],
)
def test_an_end_is_a_pod_a_service_or_an_address(words: str, end: object) -> None:
    assert parse_end(words, "here") == end


@pytest.mark.parametrize(
    ("words", "port"),
    [
        ("tcp/80", Port("tcp", 80)),
        ("80/UDP", Port("udp", 80)),
        ("80", Port("tcp", 80)),
        ("sctp/x", Port("sctp", name="x")),
        ("icmp", Port("icmp")),
    ],
)
def test_a_port_is_a_number_or_a_name_of_a_protocol(words: str, port: Port) -> None:
    assert parse_port(words) == port


@pytest.mark.parametrize("words", ["", "a/b/c/d", "/web", "shop/", "node/a/b"])
def test_what_is_no_end_is_refused(words: str) -> None:
    with pytest.raises(QuestionError, match="is no end of a packet: give namespace/name"):
        parse_end(words, "here")


@pytest.mark.parametrize("words", ["tcp/0", "tcp/65536", "quic/1", "", "tcp/", "tcp/1/2"])
def test_what_is_no_port_is_refused(words: str) -> None:
    with pytest.raises(QuestionError):
        parse_port(words)


async def test_a_rule_that_allows_is_named(shop: Api) -> None:
    (found,) = await answers(shop, "ops/probe", "shop/web", "tcp/8080")
    assert found.allowed
    assert found.families == "IPv4 and IPv6"
    assert [(each.name, each.field) for each in found.ingress.because] == [("shop/web", "spec.ingress[0]")]
    assert found.ingress.change == "to deny it, this rule must go or be narrower: spec.ingress[0] of shop/web"
    assert found.egress.text == "no NetworkPolicy with egress rules or policyTypes selects Pod ops/probe"


async def test_the_policies_that_deny_are_named_with_the_reason_and_the_cure(shop: Api) -> None:
    said = await text(shop, "ops/probe", "shop/web2", "8080")
    assert "Pod shop/web2" in said.splitlines()[0]
    assert said.splitlines()[0].endswith("TCP 8080, IPv4 and IPv6: denied")
    assert "NetworkPolicy shop/deny spec.ingress: it selects the Pod, and has no ingress rule" in said
    assert "but only at TCP 80, TCP 443, TCP http (9090), UDP 1000-2000" in said
    assert "from [namespaceSelector kubernetes.io/metadata.name=ops, podSelector app=probe], ports [TCP 8080]" in said
    assert "to deny it" not in said, "it is denied already"


async def test_the_cure_cures(shop: Api) -> None:
    """The rule that is proposed, written down, allows the packet."""
    (found,) = await answers(shop, "ops/probe", "shop/db", "tcp/5432")
    assert not found.allowed
    rule = {
        "from": [
            {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ops"}},
                "podSelector": {"matchLabels": {"app": "probe"}},
            }
        ],
        "ports": [{"port": 5432}],
    }
    assert "kubernetes.io/metadata.name=ops, podSelector app=probe], ports [TCP 5432]" in found.ingress.change
    cured = Api(*shop.objects.values())
    policy = msgspec.to_builtins(shop.get(NetworkPolicy, "db", "shop"))
    policy["spec"]["ingress"] = [rule]
    cured.put(msgspec.convert(policy, NetworkPolicy))
    assert (await answers(cured, "ops/probe", "shop/db", "tcp/5432"))[0].allowed


async def test_a_service_is_judged_at_each_endpoint(shop: Api) -> None:
    by_name = await answers(shop, "ops/probe", "service/shop/web", "tcp/80")
    assert [(each.service, each.allowed) for each in by_name] == [("TCP 8080", True), ("TCP 8080", False)]
    assert await answers(shop, "ops/probe", "10.96.0.20", "tcp/web") == by_name


async def test_a_service_without_the_port_or_without_endpoints_is_said(shop: Api) -> None:
    with pytest.raises(QuestionError, match=r"Service shop/web has no port UDP 80; its ports are: TCP 80"):
        await answers(shop, "ops/probe", "svc/shop/web", "udp/80")
    bare = Api(*(each for each in shop.objects.values() if not isinstance(each, EndpointSlice)))
    with pytest.raises(QuestionError, match="no endpoint that is ready"):
        await answers(bare, "ops/probe", "svc/shop/web", "tcp/80")


async def test_an_endpoint_may_be_a_node_or_a_pod_that_the_slice_does_not_name(shop: Api) -> None:
    """As for the API server's own Service."""
    api = Api(*shop.objects.values())
    sliced = msgspec.to_builtins(shop.get(EndpointSlice, "web-1", "shop"))
    sliced["endpoints"] = [{"addresses": [each]} for each in (_address(shop, "web2"), "172.30.0.11")]
    api.put(msgspec.convert(sliced, EndpointSlice))
    web, node = await answers(api, "shop/db", "svc/shop/web", "80")
    assert (web.target, web.allowed) == (f"Pod shop/web2 ({_address(shop, 'web2')})", False)
    assert (node.target, node.ingress.text) == (
        "node node1 (172.30.0.11)",
        "no policy restricts node node1 (172.30.0.11): policies are about Pods with a network of their own",
    )


async def test_a_node_reaches_the_pods_on_it(shop: Api) -> None:
    (found,) = await answers(shop, "ops/agent", "shop/db", "tcp/1")
    assert found.allowed
    assert "Pod ops/agent in the network of node node1" in found.source
    assert [each.text for each in found.ingress.because] == [
        "a node reaches the Pods on it, whatever NetworkPolicies say"
    ]


async def test_questions_for_names_may_go_to_nodes(shop: Api) -> None:
    """Where a rule selects the Pods of the cluster's DNS server, as in the rows."""
    rule = {
        "to": [
            {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
            }
        ],
        "ports": [{"protocol": "UDP", "port": 53}],
    }
    spec = {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Egress"], "egress": [rule]}
    made = {"metadata": {"name": "dns", "namespace": "shop", "uid": "dns"}, "spec": spec}
    space = {"name": "kube-system", "uid": "ks", "labels": {"kubernetes.io/metadata.name": "kube-system"}}
    node = shop.get(Node, "node1").metadata.annotations[names.IP_ADDRESS].split(",")[0]
    api = Api(*shop.objects.values(), msgspec.convert(made, NetworkPolicy))
    assert not (await answers(api, "shop/web", node, "udp/53"))[0].allowed, "there is no such Namespace"
    api.put(msgspec.convert({"metadata": space}, Namespace))
    assert (await answers(api, "shop/web", node, "udp/53"))[0].allowed
    assert not (await answers(api, "shop/web", node, "udp/54"))[0].allowed
    assert not (await answers(api, "shop/web", "172.30.0.11", "udp/53"))[0].allowed


async def test_an_address_is_that_of_its_pod_also_where_the_api_server_does_not_know(shop: Api) -> None:
    address = _address(shop, "web")
    by_name = await answers(shop, "ops/probe", "shop/web", "tcp/8080")
    (by_address,) = await answers(shop, "ops/probe", address, "tcp/8080")
    assert by_address.ingress == by_name[0].ingress
    known = Api(*shop.objects.values())
    known.put(msgspec.structs.replace(shop.get(Pod, "web", "shop"), status=PodStatus(pod_ips=(PodIP(ip=address),))))
    assert await answers(known, "ops/probe", address, "tcp/8080") == [by_address]


async def test_the_outside_is_no_pod(shop: Api) -> None:
    (inside,) = await answers(shop, "192.0.2.1", "shop/web", "tcp/443")
    assert inside.allowed
    assert [each.field for each in inside.ingress.because] == ["spec.ingress[0]"]
    (hole,) = await answers(shop, "192.0.2.65", "shop/web", "tcp/443")
    assert "from [ipBlock 192.0.2.65/32], ports [TCP 443]" in hole.ingress.change
    assert hole.egress.text.startswith("no policy restricts address 192.0.2.65")


@pytest.mark.parametrize(
    ("source", "target", "port", "words"),
    [
        ("shop/gone", "shop/web", "1", "there is no Pod shop/gone"),
        ("shop/web", "svc/shop/gone", "1", "there is no Service shop/gone"),
        ("svc/shop/web", "shop/web", "1", "Service shop/web sends nothing: ask for a Pod behind it"),
        ("shop/web", "shop/db", "tcp/http", "Pod shop/db has no TCP port named http: give its number"),
        ("192.0.2.1", "fd00::1", "1", "have no IP family in common"),
    ],
)
async def test_what_is_not_there_is_said(shop: Api, source: str, target: str, port: str, words: str) -> None:
    with pytest.raises(QuestionError, match=words):
        await answers(shop, source, target, port)


async def test_only_what_is_needed_is_read(shop: Api) -> None:
    kube: Any = ListedKube(shop)
    await observe_question(kube, parse_end("ops/probe", ""), parse_end("shop/web", ""), Port("tcp", 1))
    assert sorted(kube.asked) == [
        "namespaces//ops",
        "namespaces//shop",
        "networkpolicies ops",
        "networkpolicies shop",
        "pods/ops/probe",
        "pods/shop/web",
        "subnets",
    ]


async def test_a_private_subnet_is_a_cause(private: Api) -> None:
    (into,) = await answers(private, "stranger", "secret-a", "tcp/1")
    assert [(each.kind, each.name, each.field) for each in into.ingress.because] == [
        ("Subnet", "secret", "spec.private")
    ]
    assert into.ingress.change.startswith("to allow it, add 10.16.0.0/16 to spec.allowSubnets of Subnet secret")
    (out,) = await answers(private, "secret-a", "stranger", "tcp/1")
    assert not out.egress.allowed
    assert out.ingress.allowed
    for source, target in (("secret-a", "secret-b"), ("friend", "secret-a"), ("secret-a", "friend")):
        assert (await answers(private, source, target, "tcp/1"))[0].allowed, (source, target)
    (node,) = await answers(private, "172.30.0.12", "secret-a", "tcp/1")
    assert node.allowed
    assert node.ingress.because[0].text == "a private Subnet lets nodes in, whatever NetworkPolicies say"
    assert not (await answers(private, "secret-a", "172.30.0.12", "tcp/1"))[0].allowed


async def test_raw_acls_of_a_subnet_are_named_as_what_they_are(private: Api) -> None:
    (found,) = await answers(private, "stranger", "ruled", "tcp/80")
    assert [(each.effect, each.field) for each in found.ingress.because] == [
        ("may decide first", "spec.acls[0]"),
        ("may decide first", "spec.acls[1]"),
    ]
    assert found.ingress.because[0].text == (
        "this ACL may decide first, to-lport drop at priority 1111: its match is not evaluated here"
    )


async def test_an_acl_below_what_private_says_decides_nothing(private: Api) -> None:
    api = Api(*private.objects.values())
    subnet = msgspec.to_builtins(api.get(Subnet, "secret"))
    acl = {"direction": "to-lport", "match": "ip4", "action": "allow"}
    subnet["spec"]["acls"] = [{**acl, "priority": each} for each in (999, 1000, 1001)]
    api.put(msgspec.convert(subnet, Subnet))
    (denied,) = [(await answers(api, "stranger", "secret-a", "tcp/1"))[0]]
    assert [each.field for each in denied.ingress.because] == ["spec.acls[1]", "spec.acls[2]", "spec.private"]


async def test_security_groups_of_a_pod_are_named(shop: Api) -> None:
    api = Api(*shop.objects.values())
    web = next(each for each in api.objects.values() if isinstance(each, Pod) and not each.spec.host_network)
    meta = msgspec.structs.replace(web.metadata, annotations={**web.metadata.annotations, names.SECURITY_GROUPS: "b,a"})
    api.put(msgspec.structs.replace(web, metadata=meta))
    other = next(
        each for each in api.objects.values() if isinstance(each, Pod) and each.metadata.uid != web.metadata.uid
    )
    name, asked = (f"{each.metadata.namespace}/{each.metadata.name}" for each in (web, other))
    (found,) = [(await answers(api, name, asked, "tcp/80"))[0]]
    named = [each for each in found.egress.because if each.kind == "SecurityGroup"]
    assert [(each.effect, each.name) for each in named] == [("may decide first", "a"), ("may decide first", "b")]


def test_three_words_are_a_question_and_two_a_value(monkeypatch: pytest.MonkeyPatch, shop: Api) -> None:
    asked: list[tuple[str, ...]] = []

    async def observe(*words: str) -> tuple[list[Answer], int]:
        asked.append(words)
        return await answers(shop, *words[2:]), 3

    def inside(words: list[str], *_: str) -> int:
        asked.append(tuple(words))
        return 7

    monkeypatch.setattr("kube_ovn.cli.why.observe_answers", observe)
    monkeypatch.setattr(cli, "is_inside", lambda: False)
    monkeypatch.setattr(cli, "run_inside", inside)
    run = CliRunner().invoke
    said = run(cli.app, ["explain", "ops/probe", "shop/web", "tcp/8080"])
    assert said.exit_code == 0
    assert said.output.splitlines()[-1] == "3 more endpoints are not shown"
    told = json.loads(run(cli.app, ["explain", "ops/probe", "shop/web", "tcp/8080", "-o", "json"]).stdout)
    assert told[0]["allowed"] is True
    assert run(cli.app, ["explain", "outcomes of Pods", "web.shop"]).exit_code == 7
    assert asked[-1] == ("explain", "outcomes of Pods", "web.shop", "--depth=2")
    wrong = run(cli.app, ["explain", "shop/gone", "shop/web", "1"])
    assert (wrong.exit_code, wrong.stderr) == (1, "kubectl ko explain: there is no Pod shop/gone\n")
