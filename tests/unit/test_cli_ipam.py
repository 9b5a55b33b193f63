"""`kubectl ko ipam explain`: what is said of an address, from what the API server knows."""

import json
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from kube_ovn.cli.ipam import (
    Answer,
    ExplainError,
    Seen,
    explain,
    format_rows,
    parse_address,
    print_json,
    print_table,
)
from kube_ovn.cli.main import app
from kube_ovn.model import crd
from kube_ovn.model.crd import IP, IPPool
from kube_ovn.model.history import Record
from kube_ovn.model.kube import Pod, PodStatus, VersionedMeta

SINCE = "2026-01-01T00:00:00Z"


def meta(name: str, **fields: Any) -> VersionedMeta:
    return VersionedMeta(**{"name": name, "uid": f"uid-{name}", "creation_timestamp": SINCE, **fields})


def subnet(name: str, cidr: str, gateway: str = "", *exclude: str, accepted: bool = True) -> crd.Subnet:
    spec = crd.SubnetSpec(cidr_block=cidr, gateway=gateway, exclude_ips=exclude)
    status = crd.SubnetStatus(cidr_block=cidr, gateway=gateway) if accepted else crd.SubnetStatus()
    return crd.Subnet(metadata=meta(name), spec=spec, status=status)


def ip(name: str, addresses: str, **spec: str) -> IP:
    given = {"subnet": "ovn-default", "ip_address": addresses, "mac_address": "0a:00:00:00:00:05", **spec}
    return IP(metadata=meta(name), spec=crd.IPSpec(**given))


def pod_ip(addresses: str = "10.16.0.5,fd00:10:16::5", **spec: str) -> IP:
    owner = {"pod_name": "web-0", "namespace": "default", "node_name": "node1", "owner_uid": "uid-web-0"}
    return ip("web-0.default", addresses, **{**owner, **spec})


def pod(name: str = "web-0", phase: str = "Running", **fields: Any) -> Pod:
    return Pod(metadata=meta(name, namespace="default", **fields), status=PodStatus(phase=phase))


def record(holder: str, until: str, addresses: str = "10.16.0.5", since: str = SINCE) -> Record:
    return Record(
        addresses=addresses,
        mac="0a:00:00:00:00:09",
        subnet="ovn-default",
        holder=holder,
        uid=f"uid-{holder}",
        since=since,
        until=until,
    )


DEFAULT = subnet("ovn-default", "10.16.0.0/16,fd00:10:16::/64", "10.16.0.1,fd00:10:16::1", "10.16.0.9..10.16.0.20")
JOIN = subnet("join", "100.64.0.0/16", "100.64.0.1")
SUBNETS = (DEFAULT, JOIN)


def said(text: str, **seen: Any) -> Answer:
    return explain(parse_address(text), Seen(**{"subnets": SUBNETS, **seen}))


def row(found: Answer, label: str) -> list[str]:
    return [text for name, text in format_rows(found) if name == label]


@pytest.mark.parametrize(
    "text",
    [
        "fd00:10:16::5",
        "FD00:10:16::5",
        "fd00:0010:0016:0000:0000:0000:0000:0005",
        "[fd00:10:16::5]",
        " fd00:10:16:0:0:0:0:5 ",
    ],
)
def test_an_address_is_known_in_any_form(text: str) -> None:
    found = said(text, ips=[pod_ip()], pods=[pod()])
    assert found.address == "fd00:10:16::5"
    assert [holder.name for holder in found.holders] == ["web-0"]


def test_a_mapped_address_is_the_one_it_maps() -> None:
    assert said("::ffff:10.16.0.5", ips=[pod_ip()]).address == "10.16.0.5"


@pytest.mark.parametrize("text", ["", "10.16.0", "10.16.0.5/16", "web-0", "10.16.0.5,10.16.0.6"])
def test_what_is_no_address_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(ExplainError, match="is not an IP address; give one such as") as error:
        parse_address(text)
    assert "\n" not in str(error.value)


def test_an_address_in_no_subnet_is_refused_and_the_subnets_are_named() -> None:
    with pytest.raises(ExplainError) as error:
        said("192.0.2.1", ips=[pod_ip()], records=[record("Pod default/a", "2026-01-02T00:00:00Z")])
    assert str(error.value) == (
        "192.0.2.1 is in no subnet; the subnets are join (100.64.0.0/16), ovn-default (10.16.0.0/16,fd00:10:16::/64)"
    )
    with pytest.raises(ExplainError, match="the subnets are none"):
        said("192.0.2.1", subnets=[])


def test_what_is_remembered_of_a_subnet_that_is_gone_is_told() -> None:
    found = said("10.16.0.5", subnets=[JOIN], records=[record("Pod default/a", "2026-01-02T00:00:00Z")])
    assert row(found, "subnet") == ["none any more"]
    assert [past.holder for past in found.past] == ["Pod default/a"]


@pytest.mark.parametrize(
    ("text", "role"),
    [
        ("10.16.0.1", "gateway"),
        ("fd00:10:16::1", "gateway"),
        ("10.16.0.0", "network address"),
        ("fd00:10:16::", "network address"),
        ("10.16.255.255", "broadcast address"),
        ("fd00:10:16::ffff:ffff:ffff:ffff", ""),
        ("10.16.0.7", "former gateway"),
        ("10.16.0.5", ""),
    ],
)
def test_what_it_is_in_its_subnet(text: str, role: str) -> None:
    old = pod_ip("10.16.0.6", gateway="10.16.0.7")
    found = said(text, ips=[old])
    assert found.place is not None
    assert (found.place.subnet, found.place.role) == ("ovn-default", role)
    assert row(found, "is") == ([f"{role} of the subnet"] if role else [])


@pytest.mark.parametrize(
    ("text", "by"), [("10.16.0.8", ""), ("10.16.0.9", "10.16.0.9..10.16.0.20"), ("10.16.0.21", "")]
)
def test_which_entry_excludes_it(text: str, by: str) -> None:
    place = said(text).place
    assert place is not None
    assert place.excluded_by == by


def test_an_entry_nobody_understands_excludes_nothing_and_hides_nothing() -> None:
    odd = subnet("ovn-default", "10.16.0.0/16", "10.16.0.1", "nonsense", "10.16.0.9")
    place = said("10.16.0.9", subnets=[odd]).place
    assert place is not None
    assert place.excluded_by == "10.16.0.9"


def test_in_which_pool_it_is() -> None:
    pools = [
        IPPool(metadata=meta("a"), spec=crd.IPPoolSpec(subnet="ovn-default", ips=("10.16.1.0/24",))),
        IPPool(metadata=meta("b"), spec=crd.IPPoolSpec(subnet="ovn-default", ips=("10.16.0.0/23",))),
        IPPool(metadata=meta("c"), spec=crd.IPPoolSpec(subnet="elsewhere", ips=("10.16.1.0/24",))),
    ]
    assert row(said("10.16.1.5", pools=pools), "is") == ["in IPPool a"], "two want it: it is the older one's"
    assert row(said("10.16.0.5", pools=pools), "is") == ["in IPPool b"]
    assert row(said("10.16.2.5", pools=pools), "is") == []
    assert row(said("fd00:10:16::5", pools=pools), "is") == []


def test_a_subnet_that_is_not_in_effect_is_told_so_and_gives_way_to_one_that_is() -> None:
    wish = subnet("also", "10.16.0.0/24", accepted=False)
    assert row(said("10.16.0.5", subnets=[wish, DEFAULT]), "subnet") == ["ovn-default (10.16.0.0/16)"]
    (text,) = row(said("10.16.0.5", subnets=[wish]), "subnet")
    assert text == "also (10.16.0.0/24), not in effect: `kubectl describe subnet also` says why"


def test_who_has_it() -> None:
    (text,) = row(
        said("10.16.0.5", ips=[pod_ip(), ip("b.default", "10.16.0.55", owner_uid="b")], pods=[pod()]), "held by"
    )
    assert text == (
        f"Pod default/web-0 (Running), since {SINCE}, on node node1, MAC 0a:00:00:00:00:05, "
        "with 10.16.0.5,fd00:10:16::5"
    )
    assert row(said("10.16.0.6", ips=[pod_ip()]), "held by") == ["none"]


@pytest.mark.parametrize(
    ("pods", "phase"),
    [
        ([], "NotFound"),
        ([pod(phase="Pending")], "Pending"),
        ([pod(deletion_timestamp=SINCE)], "Terminating"),
        ([pod(uid="another")], "NotFound"),
    ],
)
def test_whether_its_pod_exists_and_runs(pods: list[Pod], phase: str) -> None:
    assert [holder.phase for holder in said("10.16.0.5", ips=[pod_ip()], pods=pods).holders] == [phase]


def test_a_pod_of_a_stateful_set_keeps_it() -> None:
    sticky = pod_ip("10.16.0.5", pod_type="StatefulSet", owner_uid="uid-of-the-set")
    (holder,) = said("10.16.0.5", ips=[sticky], pods=[pod(uid="any")]).holders
    assert (holder.kind, holder.sticky, holder.phase) == ("Pod", True, "Running")
    (text,) = row(said("10.16.0.5", ips=[sticky]), "held by")
    assert text.startswith("Pod default/web-0 (NotFound), ")
    assert text.endswith(", kept for the StatefulSet's Pod of this name")


def test_a_node_has_one() -> None:
    node = ip(
        "node-node1", "100.64.0.2", subnet="join", pod_name="node1", pod_type="Node", owner_uid="n", node_name="node1"
    )
    (text,) = row(said("100.64.0.2", ips=[node]), "held by")
    assert text == f"node node1, since {SINCE}, MAC 0a:00:00:00:00:05"


def test_a_reservation_is_for_the_pod_of_its_name() -> None:
    reserved = ip("web-0.default", "", v4_ip_address="10.16.0.5", mac_address="")
    assert row(said("10.16.0.5", ips=[reserved], pods=[pod()]), "held by") == [
        f"reservation web-0.default for Pod default/web-0 (Running), since {SINCE}"
    ]
    loose = ip("spare", "10.16.0.5", mac_address="")
    assert row(said("10.16.0.5", ips=[loose]), "held by") == [f"reservation spare, since {SINCE}"]


def test_what_somebody_damaged_hides_nothing() -> None:
    records = [
        record("Pod default/odd", "2026-01-02T00:00:00Z", "nonsense"),
        record("Pod default/a", "2026-01-03T00:00:00Z"),
    ]
    found = said("10.16.0.5", ips=[ip("odd", "nonsense", gateway="?"), ip("none", ""), pod_ip()], records=records)
    assert [holder.ip for holder in found.holders] == ["web-0.default"]
    assert [past.holder for past in found.past] == ["Pod default/a"]


def test_who_had_it_before_newest_first() -> None:
    records = [
        record("Pod default/a", "2026-01-02T00:00:00Z"),
        record("Pod default/other", "2026-01-02T12:00:00Z", "10.16.0.50"),
        record("Pod default/b", "2026-01-03T00:00:00Z", "10.16.0.5,fd00:10:16::5"),
    ]
    found = said("10.16.0.5", records=records)
    assert [past.holder for past in found.past] == ["Pod default/b", "Pod default/a"]
    assert row(found, "before") == [], "they have a table of their own"
    assert [past.holder for past in said("fd00:10:16::5", records=records).past] == ["Pod default/b"]


def test_when_nobody_had_it_the_reach_of_the_history_is_told() -> None:
    records = [record("Pod default/a", "2026-01-02T00:00:00Z")]
    assert row(said("10.16.0.6", records=records), "before") == [
        "none since 2026-01-02T00:00:00Z, when the history begins"
    ]
    assert row(said("10.16.0.6"), "before") == ["none"]


def test_who_is_about_to_lose_it_has_it_and_had_it_not_before() -> None:
    held = pod_ip()
    written = msgspec.structs.replace(
        record("Pod default/web-0", "2026-01-02T00:00:00Z", held.spec.ip_address), uid=held.spec.owner_uid
    )
    found = said("10.16.0.5", ips=[held], records=[written])
    assert (len(found.holders), found.past) == (1, ())


def test_the_output_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    print_json(said("10.16.0.9", ips=[pod_ip("10.16.0.9")], pods=[pod()], records=[record("node n", "x", "10.16.0.9")]))
    assert json.loads(capsys.readouterr().out) == {
        "address": "10.16.0.9",
        "place": {
            "subnet": "ovn-default",
            "cidr": "10.16.0.0/16",
            "inEffect": True,
            "role": "",
            "excludedBy": "10.16.0.9..10.16.0.20",
            "pool": "",
        },
        "holders": [
            {
                "ip": "web-0.default",
                "kind": "Pod",
                "namespace": "default",
                "name": "web-0",
                "node": "node1",
                "addresses": "10.16.0.9",
                "mac": "0a:00:00:00:00:05",
                "since": SINCE,
                "sticky": False,
                "phase": "Running",
            }
        ],
        "past": [
            {
                "addresses": "10.16.0.9",
                "mac": "0a:00:00:00:00:09",
                "subnet": "ovn-default",
                "holder": "node n",
                "uid": "uid-node n",
                "since": SINCE,
                "until": "x",
            }
        ],
        "rememberedSince": "x",
    }


def test_the_output_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(said("10.16.0.5", ips=[pod_ip("10.16.0.5")], records=[record("Pod [b]/a", "2026-01-02T00:00:00Z")]))
    out = capsys.readouterr().out
    assert out.split() == [
        *("address", "10.16.0.5", "subnet", "ovn-default", "(10.16.0.0/16)"),
        *("held", "by", "Pod", "default/web-0", "(NotFound),", "since", f"{SINCE},"),
        *("on", "node", "node1,", "MAC", "0a:00:00:00:00:05"),
        *("before", "since", "until", "MAC"),
        *("Pod", "[b]/a", SINCE, "2026-01-02T00:00:00Z", "0a:00:00:00:00:09"),
    ]


def test_bad_input_ends_with_one_sentence_and_status_1() -> None:
    result = CliRunner().invoke(app, ["ipam", "explain", "10.16.0.300"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "kubectl ko ipam explain: '10.16.0.300' is not an IP address; give one such as 10.16.0.5 or fd00:10:16::5\n"
    )


def test_without_a_cluster_it_ends_with_one_sentence_and_status_1() -> None:
    result = CliRunner().invoke(app, ["ipam", "explain", "10.16.0.5", "--kubeconfig", "/nowhere"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("kubectl ko ipam explain: kubeconfig /nowhere: ")
    assert result.stderr.count("\n") == 1
