"""The node's log of what policies decide: lines as values, a file that is appended to, and counters of Pods."""

import asyncio
import os
from ipaddress import ip_address
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric
from structlog.testing import capture_logs

from kube_ovn.daemon import decisions
from kube_ovn.daemon.decisions import Decisions
from kube_ovn.daemon.settings import Settings
from kube_ovn.daemon.view import View
from kube_ovn.host.acl_log import Decision, parse_decision
from kube_ovn.linux import tail
from kube_ovn.linux.tail import Tail
from kube_ovn.model.crd import IP, IPSpec
from kube_ovn.model.kube import ObjectMeta
from tests.small_clusters import pod

HEAD = "2026-11-29T14:36:28.123Z|00042|acl_log(ovn_pinctrl0)|INFO|"
TCP = "tcp,vlan_tci=0x0000,dl_src=0a:00:00:00:00:01,dl_dst=0a:00:00:00:00:02,nw_src=10.16.0.5,nw_dst=10.16.0.6,"
TCP += "nw_tos=0,nw_ecn=0,nw_ttl=64,nw_frag=no,tp_src=40000,tp_dst=80,tcp_flags=syn"
ICMP6 = "icmp6,vlan_tci=0x0000,dl_src=0a:00:00:00:00:01,dl_dst=0a:00:00:00:00:02,ipv6_src=fd00::5,ipv6_dst=fd00::6,"
ICMP6 += "ipv6_label=0x00000,nw_tos=0,nw_ecn=0,nw_ttl=64,nw_frag=no,icmp_type=128,icmp_code=0"


def line(name: str = "np/shop/web/ingress/none", verdict: str = "drop", way: str = "to-lport", flow: str = TCP) -> str:
    return f'{HEAD}name="{name}", verdict={verdict}, severity=warning, direction={way}: {flow}'


def test_a_line_as_a_value() -> None:
    assert parse_decision(line()) == Decision(
        policy="np/shop/web",
        rule="none",
        direction="ingress",
        verdict="drop",
        mac="0a:00:00:00:00:02",
        source=ip_address("10.16.0.5"),
        target=ip_address("10.16.0.6"),
        protocol="tcp",
        port=80,
    )


def test_the_end_that_a_policy_is_for_depends_on_the_direction() -> None:
    found = parse_decision(line("np/shop/web/egress/3", "allow", "from-lport", ICMP6))
    assert found is not None
    assert (found.mac, str(found.own), found.direction) == ("0a:00:00:00:00:01", "fd00::5", "egress")
    assert (found.rule, found.protocol, found.port) == ("3", "icmp", 0)


def test_what_a_policy_passes_on_is_an_audit_and_other_names_stay_whole() -> None:
    for name, verdict, expected in (
        ("np/shop/web/ingress/none", "pass", ("np/shop/web", "none", "audit")),
        ("anp/web/ingress/2", "pass", ("anp/web", "2", "pass")),
        ("by-hand", "drop", ("by-hand", "", "drop")),
        ("np/shop/www~0123/ingress/0", "allow", ("np/shop/www~0123", "0", "allow")),
    ):
        found = parse_decision(line(name, verdict))
        assert found is not None
        assert (found.policy, found.rule, found.verdict) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        line()[len(HEAD) :],
        line().replace("acl_log(ovn_pinctrl0)", "pinctrl(ovn_pinctrl0)"),
        line().replace("|INFO|", "|WARN|"),
        f"{HEAD}data of a Pod: {line()}",
        line().replace("verdict=drop", "verdict=<unknown>"),
        line().replace("nw_src=10.16.0.5", "nw_src=x"),
        line().replace("dl_dst=0a:00:00:00:00:02,", ""),
        line().replace("tp_dst=80", "tp_dst=http"),
        line(flow="arp,vlan_tci=0x0000,dl_src=0a:00:00:00:00:01,dl_dst=0a:00:00:00:00:02,arp_spa=10.16.0.5"),
        line() + " and more",
    ],
)
def test_a_line_of_another_form_is_nothing(text: str) -> None:
    assert parse_decision(text) is None


def add(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_only_what_comes_later_is_read_and_each_line_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("old\nold, and not at its e")
    log = Tail(path)
    assert log.read() == ([], 0)
    add(path, "nd\none\ntw")
    assert log.read() == (["one"], 0)
    assert log.read() == ([], 0)
    add(path, "o\n")
    assert log.read() == (["two"], 0)
    log.close()


def test_a_file_may_come_later_and_be_replaced_and_be_emptied(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = Tail(path)
    assert log.read() == ([], 0)
    path.write_text("one\n")
    assert log.read() == (["one"], 0)
    add(path, "two\n")
    path.rename(tmp_path / "log.1")
    add(tmp_path / "log.1", "three\n")
    path.write_text("four\n")
    assert log.read() == (["two", "three", "four"], 0)
    os.truncate(path, 0)
    assert log.read() == ([], 0)
    add(path, "5\n")
    assert log.read() == (["5"], 0)
    path.unlink()
    assert log.read() == ([], 0)
    path.write_text("six\n")
    assert log.read() == (["six"], 0)
    log.close()


def test_what_is_too_much_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "MOST", 100)
    monkeypatch.setattr(tail, "LONGEST", 40)
    path = tmp_path / "log"
    path.touch()
    log = Tail(path)
    assert log.read() == ([], 0)
    add(path, "".join(f"line {number:03}\n" for number in range(50)))
    lines, lost = log.read()
    assert (lines, lost) == ([f"line {number:03}" for number in range(39, 50)], 350)
    add(path, "x" * 90)
    assert log.read() == ([], 0)
    add(path, "x" * 90 + "\nlast\n")
    assert log.read() == (["last"], 0)
    log.close()


def test_a_file_that_is_none_is_told_by_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="directory"):
        Tail(tmp_path).read()


class Log:
    """A daemon's reader, with the Pods `a` and `b` of Namespace `shop` on the node."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "acl.log"
        self.path.touch()
        self.view = View(Settings(node_name="node1"))
        self.decisions = Decisions(str(self.path), self.view)
        self.put("a", "0a:00:00:00:00:01", "10.16.0.5,fd00::5")
        self.put("b", "0a:00:00:00:00:02", "10.16.0.6,fd00::6")
        self.read()

    def put(self, name: str, mac: str, addresses: str) -> None:
        spec = IPSpec(pod_name=name, namespace="shop", mac_address=mac, ip_address=addresses)
        self.view.ips.objects.put(
            ("", f"{name}.shop"), IP(metadata=ObjectMeta(name=f"{name}.shop", uid=name), spec=spec)
        )
        self.view.pods.objects.put(("shop", name), pod(name, namespace="shop"))
        self.view.graph.settle()

    def drop(self, name: str) -> None:
        self.view.pods.objects.drop(("shop", name))
        self.view.graph.settle()

    def read(self, *lines: str) -> None:
        add(self.path, "".join(f"{each}\n" for each in lines))
        asyncio.run(self.decisions._read())

    def look(self) -> None:
        asyncio.run(self.decisions._read())

    def counted(self) -> dict[tuple[str, ...], float]:
        (metric,) = self.decisions.collect()
        assert isinstance(metric, Metric)
        names = ("namespace", "pod", "policy", "direction", "rule", "verdict")
        return {tuple(each.labels[name] for name in names): each.value for each in metric.samples}


@pytest.fixture
def reader(tmp_path: Path) -> Log:
    return Log(tmp_path)


def test_packets_are_logged_and_counted_by_pod_and_rule(reader: Log) -> None:
    with capture_logs() as logs:
        reader.read(line(), line(), line("np/shop/web/egress/0", "allow", "from-lport", ICMP6), "nonsense")
    assert reader.counted() == {
        ("shop", "b", "np/shop/web", "ingress", "none", "drop"): 2,
        ("shop", "a", "np/shop/web", "egress", "0", "allow"): 1,
    }
    assert len(logs) == 3
    assert logs[0] == {
        "event": "a policy decided",
        "log_level": "info",
        "namespace": "shop",
        "pod": "b",
        "policy": "np/shop/web",
        "direction": "ingress",
        "rule": "none",
        "verdict": "drop",
        "source": "10.16.0.5",
        "target": "10.16.0.6",
        "protocol": "tcp",
        "port": 80,
    }


def test_a_counter_ends_with_its_pod(reader: Log) -> None:
    reader.read(line())
    reader.drop("b")
    assert reader.counted() == {}
    reader.read(line())
    assert reader.counted() == {("", "", "np/shop/web", "ingress", "none", "drop"): 1}, "its last lines come later"


def test_of_two_pods_with_one_mac_address_the_one_with_the_address_counts(reader: Log) -> None:
    reader.put("c", "0a:00:00:00:00:02", "10.99.0.6")
    reader.read(line())
    assert list(reader.counted()) == [("shop", "b", "np/shop/web", "ingress", "none", "drop")]
    reader.put("d", "0a:00:00:00:00:02", "10.16.0.6")
    reader.read(line())
    assert ("", "", "np/shop/web", "ingress", "none", "drop") in reader.counted()


def test_counters_are_bounded(reader: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "MOST_SERIES", 3)
    reader.read(*(line(f"np/shop/p{number}/ingress/none") for number in range(10)))
    reader.read(line("np/shop/p0/ingress/none"))
    found = reader.counted()
    assert len(found) == 4
    assert found["", "", "other", "ingress", "", "drop"] == 7
    assert found["shop", "b", "np/shop/p0", "ingress", "none", "drop"] == 2


def test_a_file_that_cannot_be_read_is_told_once(reader: Log) -> None:
    reader.path.unlink()
    reader.path.mkdir()
    with capture_logs() as logs:
        reader.look()
        reader.look()
    assert [each["event"] for each in logs] == ["OVN's log of policies is not read, trying again"]
