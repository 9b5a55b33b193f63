"""The whole controller against a real API server and a real Northbound database: what it decides reaches both."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import msgspec
import pytest
from prometheus_client import REGISTRY

from kube_ovn.controller import narrow
from kube_ovn.controller.main import Controller
from kube_ovn.controller.settings import Settings
from kube_ovn.k8s.client import MERGE, Client, KubeError
from kube_ovn.k8s.credentials import load_credentials
from kube_ovn.k8s.events import EVENTS
from kube_ovn.k8s.lease import LEASES
from kube_ovn.model import names
from kube_ovn.model.crd import Subnet
from kube_ovn.model.kube import Pod
from kube_ovn.model.resource import IPPOOLS, NAMESPACES, NODES, PODS, SERVICE_CIDRS, SUBNETS
from tests.daemon.crds import install_crds
from tests.daemon.kube_apiserver import ADMIN, KubeApiserver, kube_apiserver
from tests.daemon.ovn import Ovn, ovn

__all__ = ["kube_apiserver", "ovn"]

DEADLINE = 30.0
NODE = "node1"
EXCLUDED = "10.16.200.9"


class World:
    """An API server and a Northbound database; controllers come and go."""

    def __init__(self, server: KubeApiserver, ovn: Ovn, client: Client) -> None:
        self.server, self.ovn, self.client = server, ovn, client

    @asynccontextmanager
    async def controller(
        self, name: str = "one", *, token: str = ADMIN, port: int = 0
    ) -> AsyncIterator[asyncio.Task[None]]:
        """A controller, told to stop at the end unless it ended before. `token` says as whom it comes, `port` where its
        health is served.
        """
        settings = Settings(
            ovn_nb_addr=(self.ovn.endpoint("nb"),),
            pod_name=name,
            default_exclude_ips=EXCLUDED,
            leader_elect_lease_duration=4.0,
            leader_elect_renew_deadline=3.0,
            leader_elect_retry_period=0.5,
            pprof_port=port,
        )
        async with Client(load_credentials(str(self.server.write_kubeconfig(token)))) as kube:
            made = Controller(settings, settings.fabric(), settings.timing(), kube, None)
            task = asyncio.create_task(made.run())
            try:
                yield task
            finally:
                task.cancel()
                outcome = (await asyncio.gather(task, return_exceptions=True))[0]
                assert isinstance(outcome, asyncio.CancelledError), outcome

    async def create(self, name: str, **annotations: str) -> None:
        value = {
            "metadata": {"name": name, "annotations": annotations},
            "spec": {"nodeName": NODE, "containers": [{"name": "c", "image": "i"}]},
        }
        await self.client.create(PODS, "default", value)

    async def delete(self, name: str) -> None:
        path = PODS.path("default", name)
        await self.client.request("DELETE", path, query={"gracePeriodSeconds": "0"})

    async def create_node(self, name: str) -> None:
        await self.client.create(NODES, "", {"metadata": {"name": name}})

    async def addresses(self) -> dict[str, str]:
        """Pods that may start, and where."""
        pods: list[Pod] = (await self.client.list(PODS)).items
        return {
            pod.metadata.name: pod.metadata.annotations[names.IP_ADDRESS]
            for pod in pods
            if pod.metadata.annotations.get(names.ALLOCATED) == "true"
        }

    async def events(self, name: str) -> str:
        query = {"fieldSelector": f"involvedObject.name={name}"}
        listing = await self.client.request("GET", EVENTS.path("default"), query=query)
        return listing.decode()

    def ports(self) -> dict[str, str]:
        """Ports of ours that have an address, and their address."""
        form = ("--format=csv", "--data=bare", "--no-headings", "--columns=name,addresses")
        ours = ("external_ids:vendor=kube-ovn", 'type=""')
        found = self.ovn.nbctl(*form, "find", "Logical_Switch_Port", *ours)
        lines = [line.split(",", 1) for line in found.splitlines() if line]
        return {name: addresses.split()[1] for name, addresses in lines}

    async def settled(self) -> bool:
        """Whether Pods and ports agree, and all Nodes have theirs."""
        addresses = await self.addresses()
        pods = [pod.metadata.name for pod in (await self.client.list(PODS)).items]
        ports = self.ports().items()
        of_pods = {name.removesuffix(".default"): address for name, address in ports if name.endswith(".default")}
        nodes = {f"node-{node.metadata.name}" for node in (await self.client.list(NODES)).items}
        return addresses == of_pods and sorted(addresses) == sorted(pods) and nodes <= self.ports().keys()


async def until(what: str, condition: Callable[[], object]) -> None:
    end = asyncio.get_running_loop().time() + DEADLINE
    while True:
        outcome = condition()
        if await outcome if asyncio.iscoroutine(outcome) else outcome:
            return
        assert asyncio.get_running_loop().time() < end, f"gave up waiting: {what}"
        await asyncio.sleep(0.05)


@pytest.fixture
async def world(kube_apiserver: KubeApiserver, ovn: Ovn) -> AsyncIterator[World]:
    install_crds(kube_apiserver.kubeconfig)
    async with Client(load_credentials(str(kube_apiserver.kubeconfig))) as client:
        made = World(kube_apiserver, ovn, client)
        await made.create_node(NODE)
        yield made
        for pod in (await client.list(PODS)).items:
            await made.delete(pod.metadata.name)
        for node in (await client.list(NODES)).items:
            await client.request("DELETE", NODES.path(name=node.metadata.name))


async def test_a_second_leader_changes_nothing(world: World) -> None:
    for number in range(20):
        await world.create(f"p{number}")
    async with world.controller("first") as first, world.controller("second"):
        await until("all have their address", world.settled)
        before, rows = await world.addresses(), world.ovn.nbctl("show")
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await world.create("late")
        await until("the other leads", world.settled)
        after = await world.addresses()
        late = after.pop("late")
        assert after == before
        assert late not in before.values()
        await world.delete("late")
        await until("what left is gone", world.settled)
        assert sorted(world.ovn.nbctl("show")) == sorted(rows)


async def test_a_service_cidr_is_followed_and_its_user_told_what_is_in_its_way(world: World) -> None:
    def refused() -> str:
        return world.ovn.nbctl(
            "--bare", "--columns=match", "find", "ACL", 'external_ids:key="subnet ovn-default services"'
        )

    async def create(name: str, *cidrs: str) -> None:
        body = {"metadata": {"name": name}, "spec": {"cidrs": cidrs}}
        await world.client.request("POST", SERVICE_CIDRS.path(), body=body)

    async def make_subnet(name: str, cidr: str) -> None:
        body = {"apiVersion": SUBNETS.version, "kind": SUBNETS.name, "metadata": {"name": name}}
        await world.client.create(SUBNETS, "", {**body, "spec": {"cidrBlock": cidr}})

    async with world.controller():
        await make_subnet("before", "10.121.5.0/24")
        await until("it is in effect", lambda: "before" in world.ovn.nbctl("ls-list"))
        await create("extra", "10.120.0.0/16")
        await until("it counts", lambda: "ip4.dst == 10.120.0.0/16" in refused())
        await create("late", "10.121.0.0/16")

        async def told() -> bool:
            events = await world.events("late")
            return "ServiceCIDRRefused" in events and "10.121.0.0/16 overlaps 10.121.5.0/24 of Subnet before" in events

        await until("the user is told", told)
        assert "10.121.0.0" not in refused()
        await make_subnet("new", "10.120.5.0/24")

        async def said() -> bool:
            conditions = (await world.client.get(SUBNETS, "", "new")).status.conditions
            return any("overlaps the ServiceCIDR 'extra' (10.120.0.0/16)" in each.message for each in conditions)

        await until("the new Subnet is refused", said)
        for name in ("extra", "late"):
            await world.client.request("DELETE", SERVICE_CIDRS.path("", name))
        await until("it is forgotten", lambda: "10.120.0.0/16" not in refused())
        await until("the Subnet comes", lambda: "new" in world.ovn.nbctl("ls-list"))
        for name in ("before", "new"):
            await world.client.request("DELETE", SUBNETS.path("", name))
        await until("they are gone", lambda: "before" not in world.ovn.nbctl("ls-list"))


async def test_users_are_told_of_their_annotations(world: World) -> None:
    """Each message is one Event; another number of free addresses makes no further one."""
    lost = {names.IP_POOL: "10.16.0.40;10.16.0.41", names.IP_ADDRESS: "10.16.0.50", "ovn.kubernetes.io/ip_adress": "x"}
    async with world.controller():
        await world.create("lost", **lost)
        await world.create("nowhere", **{names.IP_ADDRESS: "192.0.2.7"})
        await world.create("astray", **{names.ROUTES: '[{"gw": "192.0.2.1"}]'})
        for name, said in {
            "lost": f"{names.IP_ADDRESS} asks for 10.16.0.50, and lost: {names.IP_POOL} lists 10.16.0.40",
            "nowhere": "free for Pods of Namespace default: ovn-default 655",
            "astray": "gateway 192.0.2.1 is no host in the CIDR",
        }.items():
            await until(f"{name} is told", partial(_tells, world, name, said))
        meant = f"ip_adress is unknown; did you mean {names.IP_ADDRESS}?"
        await until("what was meant is told", partial(_tells, world, "lost", meant))
        await world.create("other")
        await until("the other starts", lambda: _starts(world, "other"))
        assert await world.addresses() == {"lost": "10.16.0.40", "other": (await world.addresses())["other"]}
        assert (await world.events("nowhere")).count("free for Pods") == 1


async def test_pods_are_told_when_the_api_server_refuses_their_subnet(world: World) -> None:
    """As an administrator's own admission policy may: the Namespace and its Pods are told, and it heals."""
    root, policy = "/apis/admissionregistration.k8s.io/v1", "no-subnet-shut"
    rules = [{"apiGroups": ["kubeovn.io"], "apiVersions": ["*"], "operations": ["*"], "resources": ["subnets"]}]
    refusal = {"expression": "object.metadata.name != 'shut'", "message": "shut is shut"}
    spec = {"matchConstraints": {"resourceRules": rules}, "validations": [refusal]}
    binding = {"policyName": policy, "validationActions": ["Deny"]}
    for plural, value in (("validatingadmissionpolicies", spec), ("validatingadmissionpolicybindings", binding)):
        body = {"metadata": {"name": policy}, "spec": value}
        await world.client.request("POST", f"{root}/{plural}", body=body)
    subnet = {"apiVersion": SUBNETS.version, "kind": SUBNETS.name, "metadata": {"name": "shut"}}
    subnet["spec"] = {"cidrBlock": "10.199.0.0/24"}

    async def in_force() -> bool:
        try:
            await world.client.request("POST", SUBNETS.path(), body=subnet, query={"dryRun": "All"})
        except KubeError as error:
            return "shut is shut" in error.message
        return False

    await until("the policy is in force", in_force)
    annotations = {names.LOGICAL_SWITCH: "shut", names.CIDR: "10.199.0.0/24"}
    await world.client.request(
        "POST", NAMESPACES.path(), body={"metadata": {"name": "shut", "annotations": annotations}}
    )
    pod = {"metadata": {"name": "inside"}, "spec": {"nodeName": NODE, "containers": [{"name": "c", "image": "i"}]}}
    async with world.controller():
        await world.client.create(PODS, "shut", pod)

        async def tells(namespace: str, name: str) -> bool:
            query = {"fieldSelector": f"involvedObject.name={name}"}
            return "shut is shut" in (await world.client.request("GET", EVENTS.path(namespace), query=query)).decode()

        await until("the Pod is told", partial(tells, "shut", "inside"))
        await until("the Namespace is told", partial(tells, "default", "shut"))
        await world.client.request("DELETE", f"{root}/validatingadmissionpolicybindings/{policy}")
        await until("it heals", lambda: world.ports().get("inside.shut") == "10.199.0.2")
    await world.client.request("DELETE", f"{root}/validatingadmissionpolicies/{policy}")
    await world.client.request("DELETE", PODS.path("shut", "inside"), query={"gracePeriodSeconds": "0"})
    await world.client.request("DELETE", NAMESPACES.path(name="shut"))


async def _tells(world: World, name: str, said: str) -> bool:
    return said in await world.events(name)


async def _starts(world: World, name: str) -> bool:
    return name in await world.addresses()


async def test_what_was_committed_and_not_published_is_kept(world: World) -> None:
    """As after a crash between the two: the annotations are lost, the ports are there."""
    for number in range(5):
        await world.create(f"p{number}")
    async with world.controller():
        await until("all have their address", world.settled)
    before = await world.addresses()
    for name in before:
        lost = dict.fromkeys((names.ALLOCATED, names.IP_ADDRESS, names.MAC_ADDRESS, names.LOGICAL_SWITCH))
        await world.client.patch(PODS, "default", name, {"metadata": {"annotations": lost}})
    await world.delete("p0")  # its address must not go to one of the others
    before.pop("p0")
    async with world.controller():
        await until("all have their address", world.settled)
    assert await world.addresses() == before


async def test_stopped_again_and_again(world: World) -> None:
    """What was published once stays, whoever leads next; each of them gets a little further."""
    chance = random.Random(20)
    published: dict[str, str] = {}
    terms = 0
    for number in range(60):
        await world.create(f"p{number}")
        if number % 4 == 0:
            async with world.controller():
                await asyncio.sleep(chance.uniform(0.2, 0.8))
            now = await world.addresses()
            terms += len(now) > len(published)
            assert published.items() <= now.items()
            published = now
    async with world.controller():
        await until("all have their address", world.settled)
    addresses = await world.addresses()
    assert published.items() <= addresses.items()
    assert len(set(addresses.values())) == 60
    assert terms >= 3, "else nothing was tried"


async def test_a_name_that_is_somebody_elses(world: World) -> None:
    """A foreign row under the name of our port: its Pod's user is told, nobody else waits, and it heals."""
    world.ovn.nbctl("ls-add", "theirs", "--", "lsp-add", "theirs", "taken.default")
    async with world.controller():
        await world.create("taken")
        await world.create("free")

        async def told() -> bool:
            return "taken.default that is not kube-ovn's" in await world.events("taken")

        await until("the user is told", told)
        await until("the other has its address", lambda: "free.default" in world.ports())
        assert "taken" not in await world.addresses()
        world.ovn.nbctl("lsp-del", "taken.default")
        await until("all have their address", world.settled)


async def test_a_pod_gives_way_to_a_node(world: World) -> None:
    async with world.controller():
        await world.create("node-x")
        await until("it has its address", world.settled)
        await world.create_node("x.default")
        await until("the node has the port", lambda: world.ports().get("node-x.default", "").startswith("100.64."))

        async def told() -> bool:
            return "like the port of node x.default; rename the Pod" in await world.events("node-x")

        await until("the user is told", told)
        await world.create("other")
        await until("others are served", lambda: "other.default" in world.ports())
        await world.delete("node-x")
        await world.client.request("DELETE", NODES.path(name="x.default"))
        await until("all is well", world.settled)


async def test_addresses_users_claim_are_not_taken_from_others(world: World) -> None:
    """Annotations that imitate a grant: of an address another has, of the nodes' subnet, of an excluded one."""
    async with world.controller():
        await world.create("holder")
        await until("it has its address", world.settled)
    held = (await world.addresses())["holder"]
    grant = {names.ALLOCATED: "true", names.MAC_ADDRESS: "0a:00:00:00:00:07"}
    await world.create("aaa", **grant, **{names.IP_ADDRESS: held, names.LOGICAL_SWITCH: "ovn-default"})
    await world.create("bbb", **grant, **{names.IP_ADDRESS: "100.64.0.9", names.LOGICAL_SWITCH: "join"})
    await world.create("ccc", **grant, **{names.IP_ADDRESS: EXCLUDED, names.LOGICAL_SWITCH: "ovn-default"})
    async with world.controller():
        for name in ("aaa", "bbb", "ccc"):

            async def told(name: str = name) -> bool:
                return '"type":"Warning"' in await world.events(name)

            await until("its user is told", told)
    assert world.ports()["holder.default"] == held
    assert not {"aaa.default", "bbb.default", "ccc.default"} & world.ports().keys()


async def test_an_edited_annotation_moves_no_pod(world: World) -> None:
    """Whether a controller leads at that time or not, what the user wrote is put right."""
    async with world.controller():
        await world.create("a")
        await until("it has its address", world.settled)
    before = await world.addresses()
    free = {"metadata": {"annotations": {names.IP_ADDRESS: "10.16.7.7"}}}
    await world.client.patch(PODS, "default", "a", free)
    async with world.controller():
        await until("it has its address back", world.settled)
        assert await world.addresses() == before
        await world.client.patch(PODS, "default", "a", free)
        await until("it has its address back", world.settled)
        assert await world.addresses() == before


async def test_what_the_database_does_not_take_of_one_object_stops_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row of others has the name that the address set of a pool is to have."""
    monkeypatch.setattr(narrow, "ASIDE_PERIOD", 3.0)
    world.ovn.nbctl("create", "Address_Set", "name=few.ip4")
    spec = {"subnet": "ovn-default", "ips": ["10.16.9.9"], "enableAddressSet": True}
    pool = {"apiVersion": IPPOOLS.version, "kind": IPPOOLS.name, "metadata": {"name": "few"}, "spec": spec}
    async with world.controller():
        await world.client.request("POST", IPPOOLS.path(), body=pool)

        async def told() -> bool:
            return "identical values (few.ip4) for index" in await world.events("few")

        await until("its user is told", told)
        for number in range(5):
            await world.create(f"p{number}")
        await until("others are served", world.settled)
        assert "10.16.9.9" not in world.ovn.nbctl("--columns=addresses", "list", "Address_Set")
        world.ovn.nbctl("destroy", "Address_Set", "few.ip4")
        await until("it is tried again", lambda: "10.16.9.9" in world.ovn.nbctl("list", "Address_Set"))
    await world.client.request("DELETE", IPPOOLS.path("", "few"))


async def test_bad_input_is_told_and_mended_and_holds_up_no_other(world: World) -> None:
    """How soon stands in `python -m bench faults`."""
    bad = {f"nul-{number}": {names.DHCP_V4_OPTIONS: f"hostname=a\0{number}"} for number in range(10)}
    bad["long"] = {names.DHCP_V4_OPTIONS: "hostname=" + "x" * 250_000}
    bad["address"] = {names.IP_ADDRESS: "10.16.\0.7"}
    healthy = {f"p{number}" for number in range(20)}
    joint = ("lrp-add", "others", "ovn-cluster-refused", "0a:00:00:00:00:01", "10.1.0.1/24")
    world.ovn.nbctl("lr-add", "others", "--", *joint)
    spec = {"cidrBlock": "10.66.0.0/16"}
    subnet = {"apiVersion": SUBNETS.version, "kind": SUBNETS.name, "metadata": {"name": "refused"}, "spec": spec}
    async with world.controller():
        await world.client.create(SUBNETS, "", subnet)
        for name, annotations in bad.items():
            await world.create(name, **annotations)
        for name in healthy:
            await world.create(name)

        async def served() -> bool:
            return healthy <= (await world.addresses()).keys()

        await until("the healthy are served", served)
        for name in (*bad, "refused"):

            async def told(name: str = name) -> bool:
                return '"Warning"' in await world.events(name)

            await until(f"the user of {name} is told", told)

        async def complains() -> bool:
            return "does not take its rows" in await complaint(world, "refused")

        await until("the Subnet says why", complains)
        for name, annotations in bad.items():
            body = {"metadata": {"annotations": dict.fromkeys(annotations)}}
            await world.client.request("PATCH", PODS.path("default", name), body=body, form=MERGE)
        world.ovn.nbctl("lr-del", "others")
        await until("all that is mended is served", world.settled)

        async def ready() -> bool:
            return not await complaint(world, "refused")

        await until("the Subnet is mended", ready)
    await world.client.request("DELETE", SUBNETS.path(name="refused"))


async def complaint(world: World, subnet: str) -> str:
    """What the condition Validated of a Subnet complains of; empty when it is True."""
    there = msgspec.json.decode(await world.client.request("GET", SUBNETS.path(name=subnet)), type=Subnet)
    validated = next((each for each in there.status.conditions if each.type == "Validated"), None)
    return "" if validated is None or validated.status == "True" else validated.message


async def test_a_leader_that_lost_the_lease_leads_again(world: World) -> None:
    path = LEASES.path("kube-system", names.CONTROLLER)
    async with world.controller():
        await world.create("a")
        await until("it has its address", world.settled)
        await world.client.request("PATCH", path, body={"spec": {"holderIdentity": "thief"}}, form=MERGE)
        await until("the lease is lost", lambda: REGISTRY.get_sample_value("kube_ovn_leader") == 0)
        await world.client.request("PATCH", path, body={"spec": {"holderIdentity": ""}}, form=MERGE)
        await world.create("b")
        await until("all have their address", world.settled)
