"""The packets between each subnet and the outside through this node, as metrics.

The counters are those of the nftables table and begin anew with each table; the counts of earlier tables are added
here. Counters are read when the metrics are asked for, and before a table is replaced.
"""

import asyncio
from collections.abc import Iterator, Mapping

import structlog
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from kube_ovn.host.egress import Flow, Table
from kube_ovn.linux import nft
from kube_ovn.linux.nft import NftError
from kube_ovn.model import names

log = structlog.get_logger()

_LABELS = ("hostname", "subnet_name", "cidr", "direction", "protocol")


class Traffic(Collector):
    """Packets and bytes by flow."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._flows: Mapping[str, Flow] = {}
        self._before: dict[Flow, tuple[int, int]] = {}  # counted by former tables
        self._now: dict[Flow, tuple[int, int]] = {}
        self._reading = asyncio.Lock()

    def collect(self) -> Iterator[Metric]:
        packets = CounterMetricFamily(
            "ovn_subnet_gateway_packets", "Packets between a subnet and the outside through this node", labels=_LABELS
        )
        volume = CounterMetricFamily(
            "ovn_subnet_gateway_packet_bytes", "Bytes of these packets, with their IP headers", labels=_LABELS
        )
        for flow in self._flows.values():
            total = self._total(flow)
            values = [self._node, flow.subnet, str(flow.network), flow.direction, f"ipv{flow.network.version}"]
            packets.add_metric(values, total[0])
            volume.add_metric(values, total[1])
        yield packets
        yield volume

    async def refresh(self) -> None:
        """Read the counters. While that fails, the metrics stay as they are."""
        async with self._reading:
            await self._read()

    async def _read(self) -> None:
        if not self._flows:
            return
        try:
            counts = await nft.counters(names.NFT_TABLE)
        except NftError as error:
            log.warning("counters not read", error=str(error))
            return
        for count in counts:
            if (flow := self._flows.get(count.name)) is not None:
                self._now[flow] = (count.packets, count.bytes)

    async def replace(self, table: Table) -> None:
        """Put a table in place of the one before. The counts of that one are kept, except for packets that pass after
        they are read. Raises NftError.
        """
        async with self._reading:
            await self._read()
            await nft.apply(table.text)
            self._before = {flow: self._total(flow) for flow in table.flows.values()}
            self._flows, self._now = table.flows, {}

    def _total(self, flow: Flow) -> tuple[int, int]:
        before, now = self._before.get(flow, (0, 0)), self._now.get(flow, (0, 0))
        return before[0] + now[0], before[1] + now[1]
