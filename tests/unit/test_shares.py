"""Places that clients share: bounds, and who gives way."""

import asyncio

from kube_ovn.daemon.dns import QUEUE, Queue
from kube_ovn.shares import Place, Shares


class World:
    def __init__(self, total: int, each: int) -> None:
        self.shares, self.ended, self.places = Shares(total, each), list[str](), dict[str, Place]()

    def take(self, name: str, *, spare: bool = False) -> bool:
        """Take a place; the client is the first letter of its name."""
        place = self.shares.take(name[0], lambda: self.ended.append(name), spare=spare)
        if place is not None:
            self.places[name] = place
        return place is not None


def test_one_client_has_no_more_than_its_share() -> None:
    world = World(total=10, each=2)
    assert [world.take(name) for name in ("a1", "a2", "a3", "b1")] == [True, True, False, True]
    assert (world.ended, len(world.shares)) == ([], 3)
    world.shares.leave(world.places["a1"])
    assert world.take("a4")


def test_a_client_takes_its_own_oldest_spare_place_back() -> None:
    world = World(total=10, each=3)
    assert world.take("a1")
    assert [world.take(f"a{number}", spare=True) for number in (2, 3, 4, 5)] == [True] * 4
    assert (world.ended, len(world.shares)) == (["a2", "a3"], 3)


def test_a_full_house_has_room_for_a_client_with_less_than_others() -> None:
    world = World(total=6, each=6)
    for name in ("a1", "b1", "b2", "b3", "b4", "b5"):
        assert world.take(name)
    assert [world.take(name) for name in ("c1", "c2", "c3")] == [True, True, False]
    assert world.ended == ["b1", "b2"]
    assert world.take("d1"), "b has three of six"
    assert world.take("e1"), "b and c have two of six"
    assert (world.ended, len(world.shares)) == (["b1", "b2", "b3", "b4"], 6)


def test_equal_clients_keep_their_places_unless_one_is_spare() -> None:
    world = World(total=3, each=3)
    assert [world.take("a1"), world.take("b1", spare=True), world.take("c1")] == [True] * 3
    assert world.take("d1")
    assert world.ended == ["b1"]
    assert not world.take("e1")
    assert (world.ended, len(world.shares)) == (["b1"], 3)


def test_a_spare_place_of_the_greediest_goes_first() -> None:
    world = World(total=4, each=4)
    assert [world.take("z1", spare=True), world.take("a1"), world.take("a2", spare=True), world.take("a3")] == [
        True
    ] * 4
    assert world.take("b1")
    assert world.ended == ["a2"]


def test_a_place_may_be_given_back_twice() -> None:
    world = World(total=1, each=1)
    assert world.take("a1")
    for _ in range(2):
        world.shares.leave(world.places["a1"])
    assert len(world.shares) == 0
    assert world.take("b1")
    world.shares.leave(world.places["a1"])
    assert not world.take("c1")


async def test_a_few_clients_that_flood_take_no_place_of_another_and_are_served_in_turn() -> None:
    queue = Queue()

    def ask(client: str, number: int) -> None:
        queue.put((str(number).encode(), (client, 1000), None))  # type: ignore[arg-type]

    for number in range(QUEUE):
        for client in "abcd":
            ask(client, number)
    ask("quiet", 0)
    ask("a", QUEUE)
    served = [(await queue.get())[1][0] for _ in range(10)]
    assert served == ["a", "b", "c", "d", "quiet", "a", "b", "c", "d", "a"]
    left = [(await queue.get())[1][0] for _ in range(QUEUE - 10)]
    assert len(left) == QUEUE - 10
    assert set(left) == set("abcd")
    waits = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    assert not waits.done()
    ask("late", 0)
    assert (await waits)[1][0] == "late"
