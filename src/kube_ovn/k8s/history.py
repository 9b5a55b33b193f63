"""The history of addresses, as durable as the cluster: which owner had which address, until when. A ring of ConfigMaps.

One write is in flight at a time and takes along all records that wait and fit, so a storm of releases costs few writes.
Two processes that append at the same moment (an old leader and a new one) lose nothing: the resourceVersion is the
lock, both write the same ConfigMap, and the slower one reads again. The order of segments is decided in
`model.history`.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import structlog

from kube_ovn.k8s.client import Client, KubeError
from kube_ovn.model import names
from kube_ovn.model.history import Record, Ring, Segment
from kube_ovn.model.resource import Resource
from kube_ovn.reconcile import Backoff

log = structlog.get_logger()

SEGMENT = 256
"""Records in one ConfigMap: about 60 kB, rewritten with each append; 200 kB with the longest names there can be."""
APPEND_DEADLINE = 10.0
"""Seconds a caller waits for its record; others may wait for the caller, so this is short."""
RETRY_CEILING = 5.0
NOT_FOUND, CONFLICT = 404, 409


class _Meta(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    name: str
    namespace: str
    resource_version: str = ""


class ConfigMap(msgspec.Struct, frozen=True, kw_only=True):
    metadata: _Meta
    data: dict[str, str] = {}


CONFIG_MAPS = Resource(name="ConfigMap", version="v1", plural="configmaps", type=ConfigMap)


class DamagedError(Exception):
    """A ConfigMap of the ring holds no segment, as after an edit by hand."""


@dataclass(frozen=True, slots=True)
class _Append:
    record: Record
    done: "asyncio.Future[None]"


class History:
    """Reads and appends: `slots` ConfigMaps in a Namespace, of at most `size` records each."""

    def __init__(
        self, client: Client, namespace: str, *, slots: int = names.HISTORY_SEGMENTS, size: int = SEGMENT
    ) -> None:
        self._client, self._namespace = client, namespace
        self._ring = Ring(slots=slots, size=size)
        self._versions: dict[int, str] = {}  # by slot, of the ConfigMaps that exist
        self._waiting: list[_Append] = []
        self._wake = asyncio.Event()

    @property
    def records(self) -> Sequence[Record]:
        """All records that are remembered, oldest first."""
        return self._ring.records

    async def load(self) -> None:
        """Read all ConfigMaps of the ring. Raises KubeError."""
        slots, size = self._ring.slots, self._ring.size
        found = await asyncio.gather(*(self._observe(slot) for slot in range(slots)), return_exceptions=True)
        versions, segments = {}, []
        for slot, stored in enumerate(found):
            if isinstance(stored, BaseException):
                raise stored
            if stored is None:
                continue
            versions[slot] = stored.metadata.resource_version  # a damaged one is overwritten when its turn comes
            try:
                segments.append(parse_segment(stored, slot, slots))
            except DamagedError as error:
                log.warning("part of the address history left out", configmap=stored.metadata.name, error=str(error))
        self._versions, self._ring = versions, Ring.of(slots, size, segments)

    async def append(self, record: Record) -> None:
        """Return when the record is written; one that was written before is not written twice. Raises KubeError."""
        waiting = _Append(record, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._wake.set()
        try:
            async with asyncio.timeout(APPEND_DEADLINE):
                await waiting.done
        except TimeoutError:
            raise KubeError(0, "Timeout", "the address history is not written in time") from None

    async def run(self) -> None:
        """Write the records that wait, until cancelled."""
        backoff = Backoff(ceiling=RETRY_CEILING)
        while True:
            await self._wake.wait()
            self._waiting = [each for each in self._waiting if not each.done.done()]  # some callers may have given up
            if not self._waiting:
                self._wake.clear()
                continue
            try:
                remembered = await self._commit([each.record for each in self._waiting])
                backoff.reset()
            except KubeError as error:
                log.warning("address history not written, trying again", error=str(error))
                await backoff.wait()
                continue
            for each in self._waiting[:remembered]:
                if not each.done.done():
                    each.done.set_result(None)

    async def _commit(self, records: Sequence[Record]) -> int:
        """Write as many records as fit one segment; returns how many of them are remembered now. Raises KubeError."""
        segment, remembered = self._ring.extend(records)
        if segment is None:
            return remembered
        slot = self._ring.slot(segment.sequence)
        try:
            self._versions[slot] = await self._write(slot, segment)
        except KubeError as error:
            if error.status in (CONFLICT, NOT_FOUND):  # another was faster, or an earlier write of ours arrived
                await self.load()
            raise
        self._ring = self._ring.put(segment)
        return remembered

    async def _observe(self, slot: int) -> ConfigMap | None:
        try:
            return await self._client.get(CONFIG_MAPS, self._namespace, names.history_segment(slot))
        except KubeError as error:
            if error.status == NOT_FOUND:
                return None
            raise

    async def _write(self, slot: int, segment: Segment) -> str:
        """Make the ConfigMap, or replace the one we know; its new version."""
        name, version = names.history_segment(slot), self._versions.get(slot, "")
        body = {
            "apiVersion": CONFIG_MAPS.version,
            "kind": CONFIG_MAPS.name,
            "metadata": _Meta(name=name, namespace=self._namespace, resource_version=version),
            "data": format_segment(segment),
        }
        if version:
            stored = await self._client.replace(CONFIG_MAPS, self._namespace, name, body)
        else:
            stored = await self._client.create(CONFIG_MAPS, self._namespace, body)
        return stored.metadata.resource_version


def parse_segment(stored: ConfigMap, slot: int, slots: int) -> Segment:
    """The segment in the ConfigMap of a slot. Raises DamagedError."""
    try:
        sequence = int(stored.data["sequence"])
        records = [msgspec.json.decode(line, type=Record) for line in stored.data["records"].split("\n") if line]
    except (KeyError, ValueError) as error:  # msgspec's are ValueErrors
        raise DamagedError(f"{type(error).__name__}: {error}") from None
    if sequence < 0 or sequence % slots != slot:
        raise DamagedError(f"number {sequence} does not belong into slot {slot}")
    return Segment.of(sequence, records)


def format_segment(segment: Segment) -> dict[str, str]:
    """The `data` of a segment's ConfigMap: one record a line, as JSON."""
    lines = "".join(f"{msgspec.json.encode(record).decode()}\n" for record in segment.records)
    return {"sequence": str(segment.sequence), "records": lines}
