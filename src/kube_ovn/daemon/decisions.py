"""What policies decide on this node, as logs and metrics: of the packets that OVN logs.

ovn-controller writes a file, and the file is read every second. Its other ways out would lose more: a socket for
`--syslog-method` is connected once, when ovn-controller starts, so nothing would come after this daemon starts anew.
The file is in memory, and `ovs-healthcheck.sh` empties it when it has grown, also while this daemon is away.

A counter begins with this process, and ends with its Pod. What ovn-controller was told to log less of (the Meters of
policies) is not counted.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import prometheus_client
import structlog
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from kube_ovn.daemon.view import Name, View
from kube_ovn.host.acl_log import Decision, parse_decision
from kube_ovn.linux.tail import Tail
from kube_ovn.model.addr import parse_addresses
from kube_ovn.model.crd import IP
from kube_ovn.model.kube import Pod

log = structlog.get_logger()

LOST = prometheus_client.Counter(
    "kube_ovn_policy_log_lost_bytes_total", "Bytes of OVN's log of policies that came too fast to be read"
)
UNREADABLE = prometheus_client.Counter(
    "kube_ovn_policy_log_unreadable_lines_total", "Lines of OVN's log of policies that are not understood"
)
PERIOD = 1.0
"""Seconds from one look at the file to the next."""
MOST_SERIES = 5000
"""Counters that are kept apart. What comes beyond them is counted together."""
UNKNOWN: Name = ("", "")
"""Stands for a Pod that is not known."""
OTHER = "other"


class Rule(NamedTuple):
    """What is counted apart for each Pod."""

    policy: str
    direction: str
    rule: str
    verdict: str


class Decisions(Collector):
    """Reads OVN's log. Packets by Pod and rule."""

    def __init__(self, path: str, view: View) -> None:
        self._tail = Tail(Path(path))
        self._pods = view.pods.objects
        self._owners = view.graph.index("IP objects by MAC address", view.ips.objects, lambda name, ip: _macs(ip))
        self._counts: dict[Name, Counter[Rule]] = {}
        self._series = 0
        self._complaint = ""
        self._pods.listen(self._pod_changed)

    async def run(self) -> None:
        try:
            while True:
                await self._read()
                await asyncio.sleep(PERIOD)
        finally:
            self._tail.close()

    def collect(self) -> Iterator[Metric]:
        packets = CounterMetricFamily(
            "kube_ovn_policy_packets",
            "Packets that policies decided on and that were logged",
            labels=("namespace", "pod", *Rule._fields),
        )
        for pod, counts in self._counts.items():
            for rule, number in counts.items():
                packets.add_metric([*pod, *rule], number)
        yield packets

    async def _read(self) -> None:
        try:
            lines, lost = await asyncio.to_thread(self._tail.read)
        except OSError as error:
            if str(error) != self._complaint:
                log.warning("OVN's log of policies is not read, trying again", error=str(error))
            self._complaint = str(error)
            return
        self._complaint = ""
        LOST.inc(lost)
        for line in lines:
            decision = parse_decision(line)
            if decision is None:
                UNREADABLE.inc()
            else:
                self._take(decision)

    def _take(self, decision: Decision) -> None:
        pod = self._find(decision)
        rule = Rule(decision.policy, decision.direction, decision.rule, decision.verdict)
        log.info(
            "a policy decided",
            namespace=pod[0],
            pod=pod[1],
            **rule._asdict(),
            source=str(decision.source),
            target=str(decision.target),
            protocol=decision.protocol,
            port=decision.port,
        )
        counts = self._counts.setdefault(pod, Counter())
        if rule not in counts:
            if self._series >= MOST_SERIES:
                counts, rule = self._counts.setdefault(UNKNOWN, Counter()), rule._replace(policy=OTHER, rule="")
            self._series += rule not in counts
        counts[rule] += 1

    def _find(self, decision: Decision) -> Name:
        """The Pod of the packet: the one of this node with its MAC address, and with its address where two Pods, of
        networks apart, have that MAC address.
        """
        there = list(self._owners.values.get(decision.mac, {}).values())
        if len(there) > 1:
            there = [each for each in there if decision.own in parse_addresses(each.spec.addresses)]
        names = {(each.spec.namespace, each.spec.pod_name) for each in there} & self._pods.values.keys()
        return names.pop() if len(names) == 1 else UNKNOWN

    def _pod_changed(self, name: Name, before: Pod | None, now: Pod | None) -> None:
        """The counters of a Pod that is gone would stay for ever."""
        if now is None:
            self._series -= len(self._counts.pop(name, ()))


def _macs(ip: IP) -> tuple[str, ...]:
    return (ip.spec.mac_address.lower(),) if ip.spec.pod_name else ()
