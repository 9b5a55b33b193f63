"""The engine by example: what is worked out again, what is not, and what an explanation says."""

from collections.abc import Mapping

import pytest

from kube_ovn.derive import MOST_ROUNDS, Collection, Explanation, Graph, News, Read


def counted(graph: Graph, source: Collection[str, int], limits: Collection[str, int]) -> list[str]:
    """A derivation that reads one limit for each value; the keys that it worked out, in order."""
    worked: list[str] = []

    def cut(read: Read, key: str, value: int) -> int | None:
        worked.append(key)
        limit = read.get(limits, "high" if value > 10 else "low")
        return None if limit is None else min(value, limit)

    graph.derive("cut", source, cut)
    return worked


def test_only_what_read_a_value_that_changed_is_worked_out_again() -> None:
    graph = Graph()
    limits, numbers = graph.collection("limits", str, int), graph.collection("numbers", str, int)
    worked = counted(graph, numbers, limits)
    limits.replace({"low": 5, "high": 20})
    numbers.replace({"a": 3, "b": 7, "c": 30})
    graph.settle()
    (cut,) = graph.derivations
    assert cut.values == {"a": 3, "b": 5, "c": 20}
    worked.clear()
    limits.put("high", 25)
    graph.settle()
    assert worked == ["c"]
    assert cut.values["c"] == 25


def test_an_equal_result_goes_no_further() -> None:
    graph, told = Graph(), list[tuple[str, int | None, int | None]]()
    numbers = graph.collection("numbers", str, int)
    parity = graph.derive("parity", numbers, lambda read, key, value: value % 2)
    doubled = graph.derive("doubled", parity, lambda read, key, value: value * 2)
    doubled.listen(lambda key, old, new: told.append((key, old, new)))
    numbers.put("a", 1)
    graph.settle()
    numbers.put("a", 3)
    graph.settle()
    assert told == [("a", None, 2)]
    assert (doubled.worked, parity.unchanged) == (1, 1)
    numbers.drop("a")
    graph.settle()
    assert told[1:] == [("a", 2, None)]


def test_a_group_is_there_while_it_has_a_member() -> None:
    graph = Graph()
    numbers = graph.collection("numbers", str, int)
    by_size = graph.index("by size", numbers, lambda key, value: ("small" if value < 10 else "large",))
    counts = graph.derive("counts", by_size, lambda read, group, members: len(members))
    numbers.replace({"a": 1, "b": 2, "c": 11})
    graph.settle()
    assert counts.values == {"small": 2, "large": 1}
    numbers.put("c", 3)
    graph.settle()
    assert counts.values == {"small": 3}


def test_a_part_that_stays_the_same_wakes_nobody() -> None:
    graph = Graph()
    prices = graph.collection("prices by shop", str, dict)
    by_fruit = graph.split("prices by fruit", prices, lambda shop, listed: listed)
    sums = graph.derive("sums", by_fruit, lambda read, fruit, members: sum(members.values()))
    prices.replace({"a": {"apple": 1, "pear": 2}, "b": {"apple": 5}})
    graph.settle()
    assert (sums.values, sums.worked) == ({"apple": 6, "pear": 2}, 2)
    prices.put("a", {"apple": 1, "pear": 3, "plum": 4})
    graph.settle()
    assert (sums.values, sums.worked) == ({"apple": 6, "pear": 3, "plum": 4}, 4)
    prices.put("a", {"apple": 1})
    graph.settle()
    assert (sums.values, sums.worked) == ({"apple": 6}, 4)
    assert graph.verify() == []


def test_what_is_defined_later_cannot_be_read() -> None:
    graph = Graph()
    numbers = graph.collection("numbers", str, int)
    later: list[Collection[str, int]] = []
    graph.derive("early", numbers, lambda read, key, value: read.get(later[0], key))
    later.append(graph.collection("late", str, int))
    numbers.put("a", 1)
    with pytest.raises(ValueError, match="late is defined later than what reads it"):
        graph.settle()


def test_a_step_that_feeds_what_comes_before_it_makes_a_further_round() -> None:
    graph = Graph()
    numbers, most = graph.collection("numbers", str, int), graph.collection("most", str, int)
    shares = graph.derive("shares", numbers, lambda read, key, value: value / (read.get(most, "all") or 1))

    def remember(news: News) -> None:
        most.put("all", max(numbers.values.values(), default=1))

    graph.step("remember the most", [shares], remember)
    numbers.replace({"a": 2, "b": 4})
    graph.settle()
    assert shares.values == {"a": 0.5, "b": 1.0}


def test_steps_that_never_rest_are_named_and_left_for_the_next_time() -> None:
    graph = Graph()
    numbers = graph.collection("numbers", str, int)
    seen = graph.derive("seen", numbers, lambda read, key, value: value)
    graph.step("count", [seen], lambda news: numbers.put("a", numbers.values["a"] + 1))
    numbers.put("a", 0)
    assert graph.settle() == ["seen", "count"]
    assert numbers.values["a"] == MOST_ROUNDS


HOUR = 3600


def impure() -> tuple[Graph, Collection[str, int], dict[str, int]]:
    """A graph with a derivation that depends on something it does not read."""
    graph, outside = Graph(), {"factor": 2}
    numbers = graph.collection("numbers", str, int)
    graph.derive("scaled", numbers, lambda read, key, value: value * outside["factor"])
    return graph, numbers, outside


def test_a_stale_cell_is_found_named_and_repaired() -> None:
    graph, numbers, outside = impure()
    numbers.replace({"a": 1, "b": 2})
    graph.settle()
    assert graph.verify() == []
    outside["factor"] = 3
    assert {(each.derivation, each.key, each.value, each.anew) for each in graph.verify()} == {
        ("scaled", "a", 2, 3),
        ("scaled", "b", 4, 6),
    }
    assert len(graph.verify_some(2, HOUR)) == 2
    assert graph.verify_some(2, HOUR) == [], "what is to be worked out anyway is not stale"
    graph.settle()
    assert graph.derivations[0].values == {"a": 3, "b": 6}
    assert graph.verify_some(10, HOUR) == []


def test_cells_are_looked_at_in_turn_for_as_long_as_there_is_time() -> None:
    graph, numbers, outside = impure()
    numbers.replace(dict.fromkeys("abc", 1))
    graph.settle()
    outside["factor"] = 3
    found = []
    for _ in range(3):
        (cell,) = graph.verify_some(10, 0)
        found.append(cell.key)
        graph.settle()
    assert sorted(map(str, found)) == ["a", "b", "c"]


def test_every_cell_has_its_turn_also_when_keys_come_and_go() -> None:
    graph, numbers, outside = impure()
    numbers.replace({"a": 1, "b": 2, "c": 3})
    graph.settle()
    outside["factor"], found = 3, list[object]()
    for turn in range(10):
        found += [cell.key for cell in graph.verify_some(1, HOUR)]
        if turn == 0:
            numbers.drop("b")
            numbers.put("d", 4)
        graph.settle()
    assert sorted(map(str, found)) == ["a", "c"], "those that were worked out since are not stale"
    assert graph.derivations[0].values == {"a": 3, "c": 9, "d": 12}
    outside["factor"] = 4
    for _ in range(10):
        found += [cell.key for cell in graph.verify_some(1, HOUR)]
        graph.settle()
    assert graph.verify() == []


def test_a_function_that_depends_on_the_order_of_a_group_is_found() -> None:
    graph = Graph()
    numbers = graph.collection("numbers", str, int)
    by_parity = graph.index("by parity", numbers, lambda key, value: (value % 2,))
    graph.derive("first", numbers, lambda read, key, value: next(iter(read.select(by_parity, 1)), None))
    numbers.replace({"a": 1, "b": 3})
    graph.settle()
    assert {each.key for each in graph.verify()} == {"a", "b"}


def test_an_explanation_names_what_was_read_and_why_that_is_so() -> None:
    graph = Graph()
    limits, numbers = graph.collection("limits", str, int), graph.collection("numbers", str, int)
    counted(graph, numbers, limits)
    limits.put("low", 5)
    numbers.put("b", 7)
    graph.settle()
    (cut,) = graph.derivations
    assert graph.explain(cut, "b") == Explanation(
        "cut", "b", 5, (Explanation("numbers", "b", 7), Explanation("limits", "low", 5))
    )


def test_a_whole_source_is_read_by_what_looks_at_all() -> None:
    graph = Graph()
    one, numbers = graph.collection("one", str, bool), graph.collection("numbers", str, int)

    def total(read: Read, key: str, value: bool) -> Mapping[str, int]:
        return {"total": sum(read.all(numbers).values())}

    totals = graph.derive("total", one, total)
    one.put("one", True)
    numbers.replace({"a": 1, "b": 2})
    graph.settle()
    assert totals.values == {"one": {"total": 3}}
    numbers.drop("a")
    graph.settle()
    assert totals.values == {"one": {"total": 2}}


def test_groups_are_not_grouped() -> None:
    """An index tells of a group with the members it has by then, so the groups that it was in cannot be found."""
    graph = Graph()
    numbers = graph.collection("numbers", str, int)
    odd = graph.index("by parity", numbers, lambda name, value: (value % 2,))
    with pytest.raises(TypeError, match="by parity"):
        graph.index("by size", odd, lambda parity, members: (len(members),))
