"""The history of addresses, as durable as the cluster: who had which, until when.

A log in a ring of ConfigMaps: records are appended to the newest segment; a full one is followed by the next slot,
whose old content is overwritten. One write is in flight at a time and takes all that waits with it, so a storm of
releases costs few writes. Two processes that append at the same moment (an old leader and a new one) lose nothing: the
resourceVersion is the lock, and who was slower reads again.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec
import structlog

from kube_ovn.k8s.client import Client, KubeError
from kube_ovn.k8s.decode import Kind
from kube_ovn.model import names
from kube_ovn.model.history import Record
from kube_ovn.reconcile import Backoff

log = structlog.get_logger()

SEGMENT = 256
"""Records in one ConfigMap: about 50 kB, rewritten with each append."""
NOT_FOUND, CONFLICT = 404, 409


class _Meta(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    name: str
    namespace: str
    resource_version: str = ""


class ConfigMap(msgspec.Struct, frozen=True, kw_only=True):
    metadata: _Meta
    data: dict[str, str] = {}


CONFIGMAPS = Kind(name="ConfigMap", version="v1", plural="configmaps", type=ConfigMap)


@dataclass(slots=True, kw_only=True)
class Segment:
    """The part of the history in one ConfigMap. Later segments have higher sequence numbers."""

    sequence: int
    records: list[Record]
    version: str = ""


@dataclass(slots=True, eq=False)
class _Append:
    record: Record
    done: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class History:
    """Reads and appends. `size` records a segment, `slots` segments."""

    def __init__(
        self, client: Client, namespace: str, *, slots: int = names.HISTORY_SEGMENTS, size: int = SEGMENT
    ) -> None:
        self._client, self._namespace, self._slots, self._size = client, namespace, slots, size
        self._segments: dict[int, Segment] = {}  # by slot
        self._waiting: list[_Append] = []
        self._wake = asyncio.Event()

    @property
    def records(self) -> Sequence[Record]:
        """All that is remembered, oldest first."""
        ordered = sorted(self._segments.values(), key=lambda segment: segment.sequence)
        return [record for segment in ordered for record in segment.records]

    async def load(self) -> None:
        """Read all segments. Raises KubeError."""
        found = await asyncio.gather(*(self._read(slot) for slot in range(self._slots)))
        self._segments = {slot: segment for slot, segment in enumerate(found) if segment is not None}

    async def append(self, record: Record) -> None:
        """Return when the record is written. One that is the last of its segment's about the same grant already counts
        as written: who died before it could act on it says it again.
        """
        waiting = _Append(record)
        self._waiting.append(waiting)
        self._wake.set()
        await waiting.done

    async def run(self) -> None:
        """Write what waits, until cancelled."""
        backoff = Backoff()
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                batch = self._waiting[: self._size]
                try:
                    await self._write([each.record for each in batch])
                except KubeError as error:
                    log.warning("address history not written, trying again", error=str(error))
                    await backoff.wait()
                    continue
                backoff.reset()
                del self._waiting[: len(batch)]
                for each in batch:
                    if not each.done.done():  # nobody waits any more
                        each.done.set_result(None)

    async def _write(self, records: Sequence[Record]) -> None:
        """Append to the newest segment, or begin the next. Raises KubeError; after a conflict all is read anew."""
        slot = self._newest()
        segment = self._segments.get(slot, Segment(sequence=0, records=[]))
        fresh = new_records(segment.records, records)
        if not fresh:
            return
        if len(segment.records) + len(fresh) > self._size and segment.records:
            slot, sequence = (slot + 1) % self._slots, segment.sequence + 1
            overwritten = self._segments.get(slot)
            segment = Segment(sequence=sequence, records=[], version=overwritten.version if overwritten else "")
        try:
            written = Segment(sequence=segment.sequence, records=[*segment.records, *fresh], version=segment.version)
            written.version = await self._store(slot, written)
        except KubeError as error:
            if error.status in (CONFLICT, NOT_FOUND):
                await self.load()
            raise
        self._segments[slot] = written

    def _newest(self) -> int:
        return max(self._segments, key=lambda slot: self._segments[slot].sequence, default=0)

    async def _read(self, slot: int) -> Segment | None:
        try:
            stored = await self._client.get(CONFIGMAPS, self._namespace, names.history_segment(slot))
        except KubeError as error:
            if error.status == NOT_FOUND:
                return None
            raise
        return parse_segment(stored)

    async def _store(self, slot: int, segment: Segment) -> str:
        """Write a segment; its new version."""
        name = names.history_segment(slot)
        value = ConfigMap(
            metadata=_Meta(name=name, namespace=self._namespace, resource_version=segment.version),
            data={"sequence": str(segment.sequence), "records": format_records(segment.records)},
        )
        body = {"apiVersion": "v1", "kind": CONFIGMAPS.name, "metadata": value.metadata, "data": value.data}
        if segment.version:
            stored = await self._client.replace(CONFIGMAPS, self._namespace, name, body)
        else:
            stored = await self._client.create(CONFIGMAPS, self._namespace, body)
        return stored.metadata.resource_version


def new_records(present: Iterable[Record], wanted: Iterable[Record]) -> list[Record]:
    """Those that are not there yet: a grant is told by its owner, its addresses and its beginning."""
    known = {(record.uid, record.addresses, record.since) for record in present}
    return [record for record in wanted if (record.uid, record.addresses, record.since) not in known]


def parse_segment(stored: ConfigMap) -> Segment:
    """What a ConfigMap holds; lines that somebody damaged are left out."""
    records: list[Record] = []
    for line in stored.data.get("records", "").splitlines():
        try:
            records.append(msgspec.json.decode(line, type=Record))
        except msgspec.DecodeError as error:
            log.warning("damaged record left out", configmap=stored.metadata.name, error=str(error))
    sequence = stored.data.get("sequence", "0")
    return Segment(
        sequence=int(sequence) if sequence.isdecimal() else 0,
        records=records,
        version=stored.metadata.resource_version,
    )


def format_records(records: Iterable[Record]) -> str:
    """One JSON object a line."""
    return "".join(f"{msgspec.json.encode(record).decode()}\n" for record in records)
