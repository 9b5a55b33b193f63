"""Passes against a real Northbound database that does not take some of the rows: everything else gets there."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Hashable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import count

import pytest
from prometheus_client import REGISTRY

from kube_ovn.controller import narrow
from kube_ovn.controller.enforcement import Enforcement
from kube_ovn.controller.loop import Loop, Unseen
from kube_ovn.controller.publish import Publisher
from kube_ovn.model import nb
from kube_ovn.model.network import Kind, ObjectRef, Told
from kube_ovn.model.policy import Version
from kube_ovn.model.row import Key, Member, Row, RowKey, State, facts, owned
from kube_ovn.model.writes import Annotate, Aspect, Delete, Write, WriteKey
from kube_ovn.ovsdb import codec, commit
from kube_ovn.ovsdb.client import Client, ConflictError, OvsdbError, RejectedError, SessionEndedError, UnableError
from kube_ovn.plan import AbsurdPlanError
from kube_ovn.reconcile import Dirty, reconcile
from tests.daemon.ovn import Ovn, ovn

__all__ = ["ovn"]

DEADLINE = 20.0
SWITCH = ObjectRef(kind=Kind.SUBNET, namespace="", name="s", uid="uid-s")


def ref(name: str) -> ObjectRef:
    return ObjectRef(kind=Kind.POD, namespace="default", name=name, uid=f"uid-{name}")


def port(name: str, switch: str = "s", groups: Collection[str] = (), owner: str = "", **options: str) -> State:
    row = nb.LogicalSwitchPort(
        name=name, options=options, external_ids=owned(**({"owner_uid": owner} if owner else {}))
    )
    members = [
        Member("Logical_Switch", switch, "ports", name),
        *(Member("Port_Group", g, "ports", name) for g in groups),
    ]
    return facts(row, members=tuple(members))


def policy(name: str, priority: int) -> State:
    """A row that the database refuses when the priority is beyond 32767."""
    row = nb.LogicalRouterPolicy(priority=priority, match="1", action="allow", external_ids=owned(key=name))
    return facts(row, members=(Member("Logical_Router", "r", "policies", name),))


def group_of(name: str) -> State:
    return facts(nb.PortGroup(name=name, external_ids=owned()))


FABRIC = facts(nb.LogicalSwitch(name="s", external_ids=owned()), nb.LogicalRouter(name="r", external_ids=owned()))


@dataclass
class Wishes:
    """Stands for the topology: rows by object, and the objects set aside. `None` owns the rows of the fabric."""

    state: dict[Key, Row | None] = field(default_factory=dict)
    aside: Mapping[ObjectRef, str] = field(default_factory=dict)
    asked: int = 0
    standing: bool = True
    unenforced: tuple[Version, ...] = ()
    _facts: dict[ObjectRef | None, State] = field(default_factory=dict)
    _changed: set[Key] = field(default_factory=set)
    _writes: dict[WriteKey, Write | None] = field(default_factory=dict)

    def put(self, owner: ObjectRef | None, rows: State) -> None:
        before = self._facts.get(owner, {})
        self._changed |= before.keys() | rows.keys()
        for key in before:
            del self.state[key]
        self.state.update(rows)
        self._facts[owner] = rows

    def annotate(self, owner: ObjectRef) -> None:
        self._writes[WriteKey(owner.uid, Aspect.ANNOTATIONS)] = Annotate(object=owner, annotations={"a": "b"})

    def remove(self, object: ObjectRef) -> None:
        self._writes[WriteKey(object.uid, Aspect.OBJECT)] = Delete(object=object)

    def take_changed(self) -> set[Key]:
        changed, self._changed = self._changed, set()
        return changed

    def take_changed_writes(self) -> Mapping[WriteKey, Write | None]:
        writes, self._writes = self._writes, {}
        return writes

    def take_changed_told(self) -> Mapping[Hashable, Told | None]:
        return {}

    def owners(self, keys: Collection[Key]) -> Mapping[Key, ObjectRef | None]:
        self.asked += 1
        return {key: owner for owner, rows in self._facts.items() for key in rows if key in keys}

    def set_aside(self, refused: Mapping[ObjectRef, str]) -> None:
        self.aside = dict(refused)


class World:
    """A loop, what it is to bring about, and the database."""

    def __init__(self, nb: Client, ovn: Ovn) -> None:
        self.nb, self.ovn, self.wishes, self.dirty = nb, ovn, Wishes(), Dirty()
        self.wishes.put(None, FABRIC)
        self.published: list[str] = []
        self.unseen = Unseen()
        self.publisher = Publisher(self._send, lambda write, error: None)
        self.loop = Loop(
            lambda foreign: self.unseen,
            self.wishes,
            nb,
            self.publisher,
            lambda told: None,
            self.dirty.mark,
            Enforcement(nb, None, dict, self.dirty.mark),
        )

    async def _send(self, write: Write) -> None:
        self.published.append(write.object.name)

    async def make_pass(self) -> None:
        await self.loop.make_pass()

    def has(self, name: str, table: str = "Logical_Switch_Port") -> bool:
        return RowKey(table, name) in self.nb.replica.owned

    @property
    def aside(self) -> set[str]:
        return {each.name for each in self.wishes.aside}

    def agrees_but(self, *refs: ObjectRef) -> bool:
        """Whether the database has all that is wanted, apart from what is wanted for these objects."""
        out = {key for each in refs for key in self.wishes._facts[each]}
        return {k: v for k, v in self.wishes.state.items() if k not in out} == self.nb.replica.owned


@pytest.fixture
async def world(ovn: Ovn) -> AsyncIterator[World]:
    client = Client([ovn.endpoint("nb")], "OVN_Northbound", nb.TABLES, fence_table=nb.NbGlobal.TABLE)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(client.run())
        await client.synced(DEADLINE)
        made = World(client, ovn)
        publishing = group.create_task(made.publisher.run())
        yield made
        made.loop.close()
        running.cancel()
        publishing.cancel()


@contextmanager
def commits(world: World) -> Iterator[list[int]]:
    """How many changes each transaction had, those that failed as well."""
    sizes: list[int] = []
    commit = world.nb.commit

    async def counted(plan: object, deadline: float) -> None:
        sizes.append(len(plan))  # type: ignore[arg-type]
        await commit(plan, deadline)  # type: ignore[arg-type]

    world.nb.commit = counted  # type: ignore[method-assign]
    yield sizes
    world.nb.commit = commit  # type: ignore[method-assign]


def gauge(kind: str) -> float:
    return REGISTRY.get_sample_value("kube_ovn_controller_set_aside", {"kind": kind}) or 0.0


# --- One fault ---


async def test_a_text_that_no_database_can_hold_is_found_without_asking_it(world: World) -> None:
    for number in range(20):
        world.wishes.put(ref(f"p{number}"), port(f"p{number}", x="bad\0text" if number in (3, 7) else "good"))
    with commits(world) as sizes:
        await world.make_pass()
    assert world.agrees_but(ref("p3"), ref("p7"))
    assert world.wishes.aside == {
        ref(name): f"Logical_Switch_Port {name}: options holds the character U+0000, which no database can hold"
        for name in ("p3", "p7")
    }
    assert sizes == [42, 38], "all faults are found at once"
    assert gauge("Pod") == 2
    with commits(world) as sizes:
        await world.make_pass()
        await world.make_pass()
    assert sizes == [], "nothing is tried again in vain"
    world.wishes.put(ref("p3"), port("p3", x="mended"))
    await world.make_pass()
    assert world.agrees_but(ref("p7"))
    assert world.aside == {"p7"}
    world.wishes.put(ref("p7"), {})
    await world.make_pass()
    assert (world.aside, gauge("Pod")) == (set(), 0)


@pytest.mark.parametrize("named", [True, False])
async def test_a_row_that_the_database_refuses_is_found(
    world: World, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the place of the operation that was refused; by halves, where that is not known."""
    if not named:
        monkeypatch.setattr(commit, "_refusal", lambda *_: RejectedError("constraint violation"))
    for number in range(300):
        world.wishes.put(ref(f"p{number}"), policy(f"p{number}", 99999 if number in (3, 200) else number))
    await world.make_pass()
    assert world.aside == {"p3", "p200"}
    assert "constraint violation" in world.wishes.aside[ref("p3")]
    assert world.agrees_but(ref("p3"), ref("p200"))
    world.wishes.put(ref("p3"), policy("p3", 5))
    await world.make_pass()
    assert world.agrees_but(ref("p200"))


async def test_a_name_that_a_row_of_others_has_is_found_by_the_uuid_the_database_says(world: World) -> None:
    world.ovn.nbctl("create", "Port_Group", "name=taken")
    for name in ("a", "taken", "z"):
        world.wishes.put(ref(name), group_of(name))
    with commits(world) as sizes:
        await world.make_pass()
    assert world.aside == {"taken"}
    assert "identical values (taken) for index on column" in world.wishes.aside[ref("taken")]
    assert world.agrees_but(ref("taken"))
    assert len(sizes) == 2


async def test_an_update_that_is_refused_leaves_the_row_as_it_was(world: World) -> None:
    world.wishes.put(ref("a"), policy("a", 1))
    await world.make_pass()
    before = dict(world.nb.replica.owned)
    world.wishes.put(ref("a"), policy("a", 99999))
    world.wishes.put(ref("b"), port("b"))
    await world.make_pass()
    assert world.nb.replica.owned == {**before, **port("b")}
    assert world.aside == {"a"}


async def test_a_row_of_the_fabric_is_its_own_unit(world: World) -> None:
    world.wishes.put(None, {**FABRIC, **policy("fine", 1), **policy("broken", 99999)})
    await world.make_pass()
    assert world.has("fine", "Logical_Router_Policy")
    assert not world.has("broken", "Logical_Router_Policy")
    assert (world.wishes.aside, gauge("fabric")) == ({}, 1)


async def test_a_session_that_a_row_ends_twice_is_not_ended_a_third_time_by_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, "_check_text", lambda value: None)  # as if there were a character we know nothing of
    for number in range(40):
        world.wishes.put(ref(f"p{number}"), port(f"p{number}", x="bad\0text" if number == 17 else "good"))
    with pytest.raises(SessionEndedError):
        await world.make_pass()
    await world.nb.synced(DEADLINE)
    await world.make_pass()
    assert world.aside == {"p17"}
    assert world.agrees_but(ref("p17"))
    world.wishes.put(ref("late"), port("late"))
    await world.make_pass()
    assert world.has("late")
    world.wishes.put(ref("p17"), port("p17"))
    await world.make_pass()
    assert world.agrees_but()


async def test_a_session_that_everything_ends_is_the_fault_of_no_unit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.make_pass()
    monkeypatch.setattr(codec, "_check_text", lambda value: None)
    for number in range(10):
        world.wishes.put(ref(f"p{number}"), port(f"p{number}", x="\0"))
    for _ in range(3):
        with pytest.raises(SessionEndedError):
            await world.make_pass()
        await world.nb.synced(DEADLINE)
        assert world.aside == set()
    world.wishes.put(ref("good"), port("good"))
    await world.make_pass()
    assert world.aside == {f"p{number}" for number in range(10)}
    assert world.has("good")


async def test_a_conflict_that_stays_is_the_fault_of_a_unit(world: World) -> None:
    """A port of others refers, in a column that is not followed, to a group that is to go: the database keeps it."""
    world.wishes.put(ref("held"), facts(nb.HaChassisGroup(name="held", external_ids=owned())))
    await world.make_pass()
    uuid = world.ovn.nbctl("--bare", "--columns=_uuid", "find", "HA_Chassis_Group", "name=held").strip()
    world.ovn.nbctl("ls-add", "theirs", "--", "lsp-add", "theirs", "their-port")
    world.ovn.nbctl("set", "Logical_Switch_Port", "their-port", f"ha_chassis_group={uuid}")
    world.wishes.put(ref("held"), {})
    world.wishes.put(ref("p"), port("p"))
    with pytest.raises(ConflictError):
        await world.make_pass()
    await world.make_pass()
    assert world.has("p")
    assert world.has("held", "HA_Chassis_Group")
    assert gauge("fabric") == 1


# --- What hangs together ---


async def test_what_refers_to_a_row_that_is_set_aside_waits_for_it(world: World) -> None:
    """A port does not go without its group: it may be what keeps traffic from it."""
    world.wishes.put(ref("guard"), facts(nb.PortGroup(name="g", external_ids=owned(bad="\0"))))
    world.wishes.put(ref("guarded"), port("guarded", groups=["g"]))
    world.wishes.put(ref("free"), port("free"))
    world.wishes.annotate(ref("guarded"))
    world.wishes.annotate(ref("free"))
    await world.make_pass()
    assert (world.has("free"), world.has("guarded"), world.aside) == (True, False, {"guard", "guarded"})
    await until(lambda: world.published == ["free"])
    with commits(world) as sizes:
        await world.make_pass()
    assert sizes == []
    world.wishes.put(ref("guard"), group_of("g"))
    await world.make_pass()
    assert (world.aside, world.agrees_but()) == (set(), True)
    await until(lambda: world.published == ["free", "guarded"])


async def test_a_port_that_is_there_keeps_what_it_has(world: World) -> None:
    world.wishes.put(ref("p"), port("p"))
    await world.make_pass()
    world.wishes.put(ref("guard"), facts(nb.PortGroup(name="g", external_ids=owned(bad="\0"))))
    world.wishes.put(ref("p"), port("p", groups=["g"], x="new"))
    await world.make_pass()
    row = world.nb.replica.owned[RowKey("Logical_Switch_Port", "p")]
    assert isinstance(row, nb.LogicalSwitchPort)
    assert row.options == {"x": "new"}


async def test_a_subnet_that_is_set_aside_takes_its_ports_along_and_no_other(world: World) -> None:
    broken = nb.LogicalSwitch(name="t", other_config={"x": "\0"}, external_ids=owned())
    world.wishes.put(SWITCH, facts(broken))
    for number in range(5):
        world.wishes.put(ref(f"in-{number}"), port(f"in-{number}", switch="t"))
        world.wishes.put(ref(f"out-{number}"), port(f"out-{number}"))
    await world.make_pass()
    assert world.agrees_but(SWITCH, *(ref(f"in-{number}") for number in range(5)))
    assert world.aside == {"s", *(f"in-{number}" for number in range(5))}
    assert world.wishes.aside[ref("in-0")].startswith("it needs rows of Subnet s,")
    world.wishes.put(SWITCH, facts(nb.LogicalSwitch(name="t", external_ids=owned())))
    await world.make_pass()
    assert world.agrees_but()


async def test_a_membership_of_a_row_that_goes_is_in_no_ones_way(world: World) -> None:
    """The member is of a unit that is set aside; what it refers to is deleted."""
    world.wishes.put(ref("group"), facts(nb.HaChassisGroup(name="h", external_ids=owned())))
    row = nb.LogicalRouterPort(
        name="lrp", mac="0a:00:00:00:00:01", networks=frozenset({"10.0.0.1/24"}), external_ids=owned()
    )
    joint = Member("Logical_Router", "r", "ports", "lrp")
    world.wishes.put(
        ref("user"), facts(row, members=(joint, Member("Logical_Router_Port", "lrp", "ha_chassis_group", "h")))
    )
    await world.make_pass()
    bad = nb.LogicalRouterPort(name="lrp", mac="\0", networks=frozenset({"10.0.0.1/24"}), external_ids=owned())
    world.wishes.put(ref("user"), facts(bad, members=(joint,)))
    world.wishes.put(ref("group"), {})
    await world.make_pass()
    assert world.aside == {"user"}
    assert not world.has("h", "HA_Chassis_Group")
    assert world.has("lrp", "Logical_Router_Port")


async def test_what_an_unknown_kind_made_stays_as_it_is(world: World) -> None:
    """Services cannot be listed since the start: what is there of them is left alone, all else goes on."""
    lb = nb.LoadBalancer(name="lb", protocol="tcp", vips={"10.96.0.1:80": "10.0.0.1:80"}, external_ids=owned())
    member = Member("Load_Balancer_Group", "kube-ovn-services", "load_balancer", "lb")
    group = nb.LoadBalancerGroup(name="kube-ovn-services")
    names = nb.Dns(records={"a": "10.0.0.1"}, external_ids=owned(key="names"))
    dns = facts(names, members=(Member("Logical_Switch", "s", "dns_records", "names"),))
    world.wishes.put(None, {**FABRIC, **facts(group)})
    world.wishes.put(ref("service"), {**facts(lb, members=(member,)), **dns})
    world.wishes.put(ref("p"), port("p"))
    await world.make_pass()
    before = dict(world.nb.replica.owned)
    world.unseen = Unseen(kinds={"Service"})
    world.wishes.put(ref("service"), {})
    world.wishes.put(ref("p"), {})
    world.wishes.put(ref("q"), port("q"))
    for _ in range(2):
        await world.make_pass()
        assert world.nb.replica.owned == {**{key: before[key] for key in before if key not in port("p")}, **port("q")}
    world.wishes.put(ref("service"), facts(nb.LoadBalancer(name="lb", protocol="tcp", vips={}, external_ids=owned())))
    await world.make_pass()
    assert world.nb.replica.owned[lb.row_key] == lb
    world.unseen = Unseen()
    await world.make_pass()
    assert world.agrees_but()


async def test_while_an_object_was_never_read_nothing_of_an_earlier_process_is_removed(world: World) -> None:
    world.ovn.nbctl("ls-add", "orphan", "--", "set", "Logical_Switch", "orphan", "external_ids:vendor=kube-ovn")
    await until(lambda: world.has("orphan", "Logical_Switch"))
    world.unseen = Unseen(objects=True)
    world.wishes.put(ref("p"), port("p"))
    world.wishes.remove(ref("old"))
    await world.make_pass()
    assert world.has("p")
    world.wishes.put(ref("p"), {})
    world.wishes.remove(ref("new"))
    for _ in range(2):
        await world.make_pass()
        await until(lambda: world.published == ["new"])
        assert (world.has("p"), world.has("orphan", "Logical_Switch")) == (False, True)
    world.unseen = Unseen()
    await world.make_pass()
    await until(lambda: world.published == ["new", "old"])
    assert not world.has("orphan", "Logical_Switch")
    assert world.agrees_but()


# --- When it is tried again ---


async def test_it_is_tried_again_after_its_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(narrow, "ASIDE_PERIOD", 0.5)
    world.wishes.put(ref("a"), policy("a", 99999))
    await world.make_pass()
    await world.dirty.wait()  # there is something to tell
    assert world.aside == {"a"}
    with commits(world) as sizes:
        await world.make_pass()
        assert not sizes, "its time has not come"
        async with asyncio.timeout(DEADLINE):
            await world.dirty.wait()
        await world.make_pass()
    assert sizes
    assert world.aside == {"a"}


async def test_it_is_tried_again_at_once_when_rows_of_others_change(world: World) -> None:
    world.ovn.nbctl("create", "Port_Group", "name=taken")
    world.wishes.put(ref("taken"), group_of("taken"))
    await world.make_pass()
    assert world.aside == {"taken"}
    world.ovn.nbctl("destroy", "Port_Group", "taken")
    await until(lambda: RowKey("Port_Group", "taken") not in world.nb.replica.foreign)
    await world.make_pass()
    assert (world.aside, world.agrees_but()) == (set(), True)


@pytest.mark.parametrize("refused", [True, False])
async def test_who_takes_over_the_name_of_one_that_is_left_out_is_told_and_waits(world: World, refused: bool) -> None:
    """A Pod of a StatefulSet goes and comes between two passes. Its port is refused, or waits for its group."""
    old, new = (ObjectRef(kind=Kind.POD, namespace="default", name="web-0", uid=uid) for uid in ("u1", "u2"))
    bad = facts(nb.PortGroup(name="g", external_ids=owned(bad="\0")))
    x = "bad\0" if refused else "good"
    world.wishes.put(ref("guard"), bad)
    world.wishes.put(old, port("web-0", groups=["g"], x=x, owner="u1"))
    await world.make_pass()
    assert world.wishes.aside.keys() == {ref("guard"), old}
    world.wishes.put(old, {})
    world.wishes.put(new, port("web-0", groups=["g"], x=x, owner="u2"))
    world.wishes.annotate(new)
    world.wishes.annotate(ref("free"))
    await world.make_pass()
    assert world.wishes.aside.keys() == {ref("guard"), new}
    assert world.loop._committer.incomplete == {"uid-guard", "u2"}
    await until(lambda: world.published == ["free"])
    world.wishes.put(ref("guard"), group_of("g"))
    world.wishes.put(new, port("web-0", groups=["g"], owner="u2"))
    await world.make_pass()
    assert (world.aside, world.agrees_but()) == (set(), True)
    await until(lambda: world.published == ["free", "web-0"])


async def test_who_is_aside_costs_the_next_passes_no_look_at_all_owners(world: World) -> None:
    world.wishes.put(ref("bad"), port("bad", x="\0"))
    await world.make_pass()
    asked = world.wishes.asked
    for number in range(5):
        world.wishes.put(ref(f"p{number}"), port(f"p{number}"))
        await world.make_pass()
    assert world.wishes.asked == asked


# --- What is nobody's fault ---


async def test_a_database_that_can_write_nothing_sets_nothing_aside(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = commit._refusal

    def full(steps: object, results: list[dict[str, str]], number: int) -> Exception:
        results[number]["error"] = "I/O error"
        return refusal(steps, results, number)  # type: ignore[arg-type]

    monkeypatch.setattr(commit, "_refusal", full)
    world.wishes.put(ref("a"), policy("a", 99999))
    with pytest.raises(UnableError):
        await world.make_pass()
    assert world.aside == set()


async def test_a_server_that_is_away_sets_nothing_aside(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(narrow, "RECONNECT_DEADLINE", 0.3)
    world.wishes.put(ref("p"), port("p"))
    for _ in range(4):
        world.ovn.kill("nb")
        with pytest.raises(OvsdbError):
            await world.make_pass()
        world.ovn.start_database("nb")
        await world.nb.synced(DEADLINE)
    await world.make_pass()
    assert (world.aside, world.agrees_but()) == (set(), True)


async def test_a_server_that_falls_silent_sets_nothing_aside(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(narrow, "COMMIT_DEADLINE", 0.3)
    monkeypatch.setattr(narrow, "RECONNECT_DEADLINE", 0.5)
    for number in range(4):
        world.wishes.put(ref(f"p{number}"), port(f"p{number}"))
        world.ovn.pause("nb")
        with pytest.raises(OvsdbError):
            await world.make_pass()
        world.ovn.resume("nb")
        await world.nb.synced(DEADLINE)
    await world.make_pass()
    assert (world.aside, world.agrees_but()) == (set(), True)


async def test_the_guard_names_the_rows(world: World) -> None:
    for number in range(8):
        row = nb.LogicalSwitchPort(name=f"node-n{number}", external_ids=owned(node=f"n{number}"))
        world.wishes.put(ref(f"n{number}"), facts(row, members=(Member("Logical_Switch", "s", "ports", row.name),)))
    await world.make_pass()
    for number in range(8):
        world.wishes.put(ref(f"n{number}"), {})
    said = "Logical_Switch_Port node-n0, .*, Logical_Switch_Port node-n4 and 3 more"
    with pytest.raises(AbsurdPlanError, match=said):
        await world.make_pass()


# --- All at once ---


async def test_bad_ones_among_a_thousand_that_come_and_go_hold_nobody_up(world: World) -> None:
    bad = {ref(f"nul-{number}"): port(f"nul-{number}", x="\0") for number in range(10)}
    bad |= {ref(f"range-{number}"): policy(f"range-{number}", 40000 + number) for number in range(5)}
    bad |= {ref("half"): port("half", x="\ud83d"), SWITCH: facts(nb.LogicalSwitch(name="t\0", external_ids=owned()))}
    bad |= {ref("inside"): port("inside", switch="t\0")}
    for number in range(1000):
        world.wishes.put(ref(f"p{number}"), port(f"p{number}"))
    world.wishes.put(ref("large"), port("large", x="x" * (1 << 20)))
    loop = asyncio.get_running_loop()
    started, waits, names = loop.time(), list[float](), count(1000)
    async with running(world):
        await until(lambda: world.has("p999"))
        for owner, rows in bad.items():
            world.wishes.put(owner, rows)
            for _ in range(3):
                await come(world, next(names), waits)
            world.dirty.mark()
        for number in range(60):
            owner = list(bad)[number % 15]
            changed = (
                port(owner.name, x=f"\0{number}")
                if owner.name.startswith("nul")
                else policy(owner.name, 40100 + number)
            )
            world.wishes.put(owner, changed)
            world.wishes.put(ref(f"p{number}"), {})
            await come(world, next(names), waits)
            assert not world.has(f"p{number}")
        await until(lambda: world.aside == {each.name for each in bad})
        world.wishes.put(ref("nul-0"), port("nul-0"))
        await come(world, next(names), waits)
        await until(lambda: world.has("nul-0"))
    print(f"longest wait {max(waits) * 1000:.0f} ms of {len(waits)}, all in {loop.time() - started:.1f} s")
    assert max(waits) < 1.0
    assert world.agrees_but(*(each for each in bad if each.name != "nul-0"))


@asynccontextmanager
async def running(world: World) -> AsyncIterator[None]:
    task = asyncio.create_task(reconcile(world.dirty, world.make_pass, (OvsdbError, AbsurdPlanError)))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def come(world: World, number: int, waits: list[float]) -> None:
    """One more healthy Pod, and how long it waits for its port."""
    loop = asyncio.get_running_loop()
    asked = loop.time()
    world.wishes.put(ref(f"p{number}"), port(f"p{number}"))
    world.dirty.mark()
    await until(lambda: world.has(f"p{number}"))
    waits.append(loop.time() - asked)


async def until(condition: Callable[[], bool]) -> None:
    end = asyncio.get_running_loop().time() + DEADLINE
    while not condition():
        assert asyncio.get_running_loop().time() < end, "gave up waiting"
        await asyncio.sleep(0.005)
