"""`kubectl ko plan -f`, `who-can` and `policies`: what is said of a small cluster."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from kube_ovn.cli import listing, who_can
from kube_ovn.cli.around import observe_all, observe_target
from kube_ovn.cli.main import app
from kube_ovn.cli.preview import Preview, PreviewError, format_lines, preview, read_policies
from kube_ovn.cli.question import QuestionError, parse_end, parse_port
from kube_ovn.model import names
from kube_ovn.model.kube import Pod
from kube_ovn.model.nb import Acl
from kube_ovn.model.policy import NetworkPolicy
from kube_ovn.topology.graph import Topology
from kube_ovn.topology.policy.ends import Known
from kube_ovn.topology.policy.workload import workload
from tests.fakes.listed_kube import ListedKube
from tests.golden.scenario import load
from tests.small_clusters import Api, settle

DENY: dict[str, Any] = {"podSelector": {}, "policyTypes": ["Ingress"]}


def owned(number: int, app: str, *, namespace: str = "shop", node: str = "node1", **spec: Any) -> Pod:
    """A Pod of a Deployment, with labels that no other Pod of it has."""
    owner = {"kind": "ReplicaSet", "apiVersion": "apps/v1", "name": f"{app}-1a2b", "uid": f"rs-{app}"}
    plain = {
        "metadata": {
            "name": f"{app}-1a2b-{number}",
            "namespace": namespace,
            "uid": f"{namespace}-{app}-{number}",
            "labels": {"app": app, "pod-template-hash": "1a2b", "number": str(number)},
            "ownerReferences": [{**owner, "controller": True}],
        },
        "spec": {"nodeName": node, **spec},
    }
    return msgspec.convert(plain, Pod)


def policy(name: str, namespace: str = "shop", **spec: Any) -> NetworkPolicy:
    meta = {"name": name, "namespace": namespace, "uid": f"np-{namespace}-{name}"}
    return msgspec.convert({"metadata": meta, "spec": spec}, NetworkPolicy)


@pytest.fixture(scope="module")
def golden() -> tuple[Topology, Api]:
    return load("policies")


@pytest.fixture(scope="module")
def cluster(golden: tuple[Topology, Api]) -> Api:
    """Without policies: two Pods of `front`, three of `back` that listen at 5432, one of `spy` in another Namespace."""
    topology, api = golden
    topology = Topology(topology.fabric)
    made = Api(*(each for each in api.objects.values() if not isinstance(each, NetworkPolicy | Pod)))
    ports = [{"ports": [{"containerPort": 5432}]}]
    made.put(*(owned(each, "front") for each in range(2)), owned(0, "spy", namespace="ops"))
    made.put(*(owned(each, "back", containers=ports) for each in range(3)))
    settle(topology, made)
    return made


async def everything(api: Api) -> Known:
    kube: Any = ListedKube(api)
    return await observe_all(kube)


async def previewed(api: Api, *given: NetworkPolicy, delete: bool = False) -> list[str]:
    return [*format_lines(preview(await everything(api), given, delete=delete), 50)]


async def test_a_policy_that_denies_is_shown_by_workload(cluster: Api) -> None:
    given = policy("deny", podSelector={"matchLabels": {"app": "back"}}, policyTypes=["Ingress"])
    assert await previewed(cluster, given) == [
        "creates NetworkPolicy shop/deny, which selects 3 Pods",
        "- denies Deployment ops/spy -> Deployment shop/back: everything, 3 pairs of Pods",
        "- denies Deployment shop/back -> Deployment shop/back: everything, 6 pairs of Pods",
        "- denies Deployment shop/front -> Deployment shop/back: everything, 6 pairs of Pods",
    ]


async def test_the_ports_are_those_of_rules_and_of_containers(cluster: Api) -> None:
    rule = {"from": [{"podSelector": {}}], "ports": [{"port": 5432}, {"port": 80, "endPort": 89}, {"protocol": "UDP"}]}
    given = policy("some", podSelector={"matchLabels": {"app": "back"}}, policyTypes=["Ingress"], ingress=[rule])
    closed = Api(*cluster.objects.values(), policy("deny", **DENY))
    assert await previewed(closed, given) == [
        "creates NetworkPolicy shop/some, which selects 3 Pods",
        "+ allows Deployment shop/back -> Deployment shop/back: TCP 80-89, TCP 5432, all UDP ports, 6 pairs of Pods",
        "+ allows Deployment shop/front -> Deployment shop/back: TCP 80-89, TCP 5432, all UDP ports, 6 pairs of Pods",
    ]
    said = await previewed(cluster, given)
    assert said[2] == (
        "- denies Deployment shop/back -> Deployment shop/back: ICMP and other protocols, all SCTP ports, "
        "other TCP ports, 6 pairs of Pods"
    )


async def test_pods_that_a_block_tells_apart_are_counted_apart(cluster: Api) -> None:
    known = await everything(cluster)
    (one,) = [each for each in known.pods if each.metadata.name == "front-1a2b-1"]
    address = one.metadata.annotations[names.IP_ADDRESS].split(",")[0]
    rule = {"from": [{"ipBlock": {"cidr": f"{address}/32"}}]}
    closed = Api(*cluster.objects.values(), policy("deny", **DENY))
    given = policy("one", podSelector={"matchLabels": {"app": "back"}}, policyTypes=["Ingress"], ingress=[rule])
    assert (await previewed(closed, given))[1:] == [
        "+ allows Deployment shop/front -> Deployment shop/back: everything (IPv4 alone), 3 pairs of Pods"
    ]


async def test_what_is_deleted_or_changed_is_compared_with_what_is_there(cluster: Api) -> None:
    closed = Api(*cluster.objects.values(), policy("deny", podSelector={}, policyTypes=["Ingress"]))
    opened = policy("deny", podSelector={}, policyTypes=["Ingress"], ingress=[{}])
    changed = await previewed(closed, opened)
    assert changed[0] == "changes NetworkPolicy shop/deny, which selects 5 Pods"
    deleted = await previewed(closed, opened, delete=True)
    assert deleted[0] == "deletes NetworkPolicy shop/deny, which selects 5 Pods"
    assert deleted[1:] == changed[1:]
    assert all(each.startswith("+ allows") for each in deleted[1:])
    assert await previewed(cluster, opened, delete=True) == [
        "NetworkPolicy shop/deny is not there: nothing to delete",
        "no packet between present Pods changes its verdict",
    ]


async def test_what_is_not_understood_is_said(cluster: Api) -> None:
    given = policy("odd", podSelector={"matchExpressions": [{"key": "a", "operator": "Near"}]})
    said = await previewed(cluster, given)
    assert said[1].startswith("NetworkPolicy shop/odd: spec.podSelector: operator 'Near' of label a is unknown")


async def test_a_node_and_its_own_pods_are_no_pair(cluster: Api) -> None:
    """A policy changes nothing between them."""
    host = owned(0, "host", hostNetwork=True)
    api = Api(*cluster.objects.values(), host)
    said = await previewed(api, policy("deny", **DENY))
    assert not [each for each in said if "Deployment shop/host" in each]


def test_many_lines_are_cut_and_counted() -> None:
    found = msgspec.convert(
        {
            "changes": [
                {
                    "allowed": True,
                    "source": f"Pod a/{each}",
                    "target": "Pod a/b",
                    "ports": "x",
                    "families": "",
                    "pairs": 1,
                }
                for each in range(5)
            ],
            "notes": [],
        },
        Preview,
    )
    lines = [*format_lines(found, 3)]
    assert (len(lines), lines[-1]) == (4, "and 2 more changes (--limit)")


def test_a_file_may_have_many_documents_and_lists(tmp_path: Path) -> None:
    file = tmp_path / "policies.yaml"
    one = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: NAME}\nspec: {podSelector: {}}\n"
    item = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "c", "namespace": "x"}}
    file.write_text(
        f"# two\n---\n{one.replace('NAME', 'a')}---\n{one.replace('NAME', 'b')}--- {json.dumps({'items': [item]})}\n"
    )
    found = [(each.metadata.namespace, each.metadata.name) for each in read_policies(str(file), "here")]
    assert found == [("here", "a"), ("here", "b"), ("x", "c")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no NetworkPolicy"),
        ("{", "is no YAML"),
        ("- 1", "has a document that is no object"),
        (
            "kind: Service\napiVersion: v1",
            "has Service of v1: only NetworkPolicy of networking.k8s.io/v1 can",
        ),
        (
            "kind: NetworkPolicy\napiVersion: networking.k8s.io/v1\nmetadata: {name: a}\nspec: {podSelector: 1}",
            r"cannot be read: Expected `object`, got `int` - at `\$.spec.podSelector`",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(PreviewError, match=words) as error:
        read_policies(str(tmp_path / "p.yaml"), "here")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_and_a_deletion_of_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PreviewError, match="cannot be read"):
        read_policies(str(tmp_path / "gone"), "here")
    found = CliRunner().invoke(app, ["plan", "--delete"])
    assert (found.exit_code, found.stderr) == (
        1,
        "kubectl ko plan: --delete needs the policies that are to be deleted: give them with -f\n",
    )


async def test_who_can_lists_workloads_and_what_stops_the_others(golden: tuple[Topology, Api]) -> None:
    kube: Any = ListedKube(golden[1])
    port = parse_port("tcp/5432")
    known, (target,), _ = await observe_target(kube, parse_end("shop/db", ""), port)
    assert [*who_can.format_lines([who_can.answer(known, target, port)], 0, 50)] == [
        "3 Pods may send TCP 5432 to Pod shop/db (10.16.0.3)",
        "  Pod ops/agent: 1 (ingress by Node node1)",
        "  Pod shop/web: 1 (ingress by NetworkPolicy shop/db ingress[0])",
        "  Pod shop/web2: 1 (ingress by NetworkPolicy shop/db ingress[0])",
        "1 Pod may not send TCP 5432 to Pod shop/db (10.16.0.3)",
        "  Pod ops/probe: 1 (ingress by NetworkPolicy shop/db, NetworkPolicy shop/deny)",
    ]
    lines = [*who_can.format_lines([who_can.answer(known, target, port)], 2, 1)]
    assert lines[2] == "  and 2 more lines (--limit)"
    assert lines[-1] == "2 more endpoints are not shown"


async def test_pods_of_one_workload_are_counted_together(cluster: Api) -> None:
    kube: Any = ListedKube(cluster)
    port = parse_port("5432")
    known, (target,), _ = await observe_target(kube, parse_end("shop/back-1a2b-0", ""), port)
    found = [(each.workload, each.pods, each.because) for each in who_can.answer(known, target, port).groups]
    assert found == [
        ("Deployment ops/spy", 1, "no policy is about it"),
        ("Deployment shop/back", 2, "no policy is about it"),
        ("Deployment shop/front", 2, "no policy is about it"),
    ]


async def test_a_pod_that_may_in_one_ip_family_alone_may_not(cluster: Api) -> None:
    rule = {"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}
    given = policy("four", podSelector={"matchLabels": {"app": "back"}}, policyTypes=["Ingress"], ingress=[rule])
    kube: Any = ListedKube(Api(*cluster.objects.values(), given))
    known, (target,), _ = await observe_target(kube, parse_end("shop/back-1a2b-0", ""), parse_port("1"))
    groups = who_can.answer(known, target, parse_port("1")).groups
    assert not any(each.allowed for each in groups)
    assert {each.because for each in groups} == {"denied over IPv6 alone: ingress by NetworkPolicy shop/four"}


async def test_a_cluster_with_no_other_pod_is_said(golden: tuple[Topology, Api]) -> None:
    alone = Api(
        *(each for each in golden[1].objects.values() if not isinstance(each, Pod) or each.metadata.uid == "p3")
    )
    kube: Any = ListedKube(alone)
    known, (target,), _ = await observe_target(kube, parse_end("shop/db", ""), parse_port("1"))
    with pytest.raises(QuestionError, match="there is no other Pod"):
        who_can.answer(known, target, parse_port("1"))


async def test_policies_are_listed_with_their_rows(
    golden: tuple[Topology, Api], capsys: pytest.CaptureFixture[str]
) -> None:
    """The numbers of ACLs are those in the database."""
    topology, api = golden
    lines = listing.list_policies(await everything(api))
    rows = [each for each in topology.state.values() if isinstance(each, Acl)]
    for each in lines:
        assert each.acls == sum(row.external_ids.get("policy") == f"{each.namespace}/{each.name}" for row in rows)
    assert {each.name: each.pods for each in lines} == {"db": 1, "deny": 3, "odd": 0, "web": 2}
    listing.print_table(lines)
    printed = capsys.readouterr().out.splitlines()
    assert printed[1].split() == ["shop", "db", "1", "1", "2", str(lines[0].acls)]
    assert printed[2].split() == ["shop", "deny", "3", "0", "-", "0"]
    assert printed[5].startswith("shop/odd is not understood whole: spec.ingress[0].from[0]: operator 'Near'")
    listing.print_json(lines)
    assert json.loads(capsys.readouterr().out)[1]["egress"] is None
    listing.print_table([])
    assert capsys.readouterr().out == "there is no NetworkPolicy\n"


def test_the_workload_is_the_object_that_users_know() -> None:
    def named(*owners: dict[str, Any], **labels: str) -> str:
        meta = {"name": "p", "namespace": "n", "uid": "u", "labels": labels, "ownerReferences": list(owners)}
        return str(workload(msgspec.convert({"metadata": meta}, Pod)))

    def owner(kind: str, name: str, *, controller: bool = True) -> dict[str, Any]:
        return {"kind": kind, "name": name, "uid": "o", "controller": controller}

    assert named(owner("ReplicaSet", "web-5d9c"), **{"pod-template-hash": "5d9c"}) == "Deployment n/web"
    assert named(owner("ReplicaSet", "web-5d9c")) == "ReplicaSet n/web-5d9c"
    assert named(owner("StatefulSet", "db")) == "StatefulSet n/db"
    assert named(owner("Node", "node1")) == "Pod n/p"
    assert named(owner("Job", "a", controller=False)) == "Pod n/p"
