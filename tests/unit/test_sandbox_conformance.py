"""Which of Kubernetes' own cases are run, what a report of them means, and that the document says the same."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from sandbox import conformance_images, programs
from sandbox.conformance import (
    PLAN,
    Case,
    KnownFailure,
    LeftOut,
    Plan,
    Result,
    State,
    Wishes,
    case_arguments,
    parse_list,
    parse_report,
    read_plan,
    select_cases,
    stale_failures,
    summary,
    to_json,
)
from sandbox.layout import Cluster, IpFamily
from sandbox.paths import SandboxError

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"
LISTED = """\
The following spec names can be used with 'ginkgo run --focus/skip':
    test/e2e/apps/job.go:1: [sig-apps] Job should run [Conformance]
    test/e2e/network/service.go:2: [sig-network] Services should be rejected when no endpoints exist
    test/e2e/network/service.go:3: [sig-network] Services should serve: a basic endpoint [Conformance]
    test/e2e/network/dual.go:4: [sig-network] [Feature:IPv6DualStack] should create pod
    test/e2e/network/lb.go:5: [sig-network] LoadBalancers [Feature:LoadBalancer] should work
"""


def select(family: IpFamily, **wishes: Any) -> list[tuple[str, str]]:
    cases = select_cases(parse_list(LISTED), read_plan(PLAN.read_text()), family, Wishes(**wishes))
    return [(case.group, case.name) for case in cases]


def make_spec(state: str, message: str = "", kind: str = "It") -> dict[str, Any]:
    failure = {"Failure": {"Message": message}} if message else {}
    return {"LeafNodeType": kind, "State": state, "RunTime": 2_500_000_000, **failure}


def report(*specs: dict[str, Any]) -> list[dict[str, Any]]:
    others = [make_spec("skipped"), make_spec("passed", kind="ReportAfterSuite")]
    return [{"SpecReports": [*others, *specs]}]


def make_result(state: State, known: str | None = None) -> Result:
    return Result(case=Case(name="Services a", group="services"), state=state, seconds=1.0, known=known)


def test_cases_of_the_network_are_named_without_their_file() -> None:
    assert parse_list(LISTED) == [
        "Services should be rejected when no endpoints exist",
        "Services should serve: a basic endpoint [Conformance]",
        "[Feature:IPv6DualStack] should create pod",
        "LoadBalancers [Feature:LoadBalancer] should work",
    ]


def test_a_case_is_in_one_group_and_what_is_left_out_in_none() -> None:
    assert select(IpFamily.DUAL) == [
        ("conformance", "Services should serve: a basic endpoint [Conformance]"),
        ("dual-stack", "[Feature:IPv6DualStack] should create pod"),
        ("services", "Services should be rejected when no endpoints exist"),
    ]


def test_a_group_of_another_family_is_not_run() -> None:
    assert "dual-stack" not in {group for group, _ in select(IpFamily.IPV4)}


def test_a_group_and_a_pattern_narrow_the_choice() -> None:
    assert select(IpFamily.DUAL, groups=["services"]) == [
        ("services", "Services should be rejected when no endpoints exist")
    ]
    assert select(IpFamily.DUAL, focus="basic|rejected", groups=["conformance"]) == [
        ("conformance", "Services should serve: a basic endpoint [Conformance]")
    ]


def test_wishes_that_cannot_be_met_are_one_sentence() -> None:
    with pytest.raises(
        SandboxError, match="there is no group policy; there are conformance, dual-stack, netpol, services"
    ):
        select(IpFamily.DUAL, groups=["policy"])
    with pytest.raises(SandboxError, match="not a regular expression"):
        select(IpFamily.DUAL, focus="(")


@pytest.mark.parametrize(
    ("specs", "outcome"),
    [
        ([make_spec("passed")], (State.PASSED, 2.5, "")),
        ([make_spec("skipped", "needs\n  3 nodes")], (State.SKIPPED, 2.5, "skipped: needs 3 nodes")),
        ([make_spec("failed", "no answer")], (State.FAILED, 2.5, "failed: no answer")),
        ([make_spec("timedout", "too long")], (State.FAILED, 2.5, "timedout: too long")),
        ([make_spec("panicked")], (State.FAILED, 2.5, "panicked: ")),
        (
            [make_spec("failed", "nodes are not ready", kind="SynchronizedBeforeSuite")],
            (State.FAILED, 0.0, "failed: nodes are not ready"),
        ),
        ([], (State.FAILED, 0.0, "the test program knows no such case")),
    ],
)
def test_a_report_becomes_one_outcome(specs: list[dict[str, Any]], outcome: tuple[State, float, str]) -> None:
    assert parse_report(report(*specs)) == outcome


def test_the_case_is_asked_for_by_the_end_of_its_name() -> None:
    cluster = Cluster(node_count=3, family=IpFamily.IPV4)
    name = "Services should work (a.b) [Conformance]"
    arguments = case_arguments(Path("/e2e.test"), Case(name=name, group="g"), cluster, Path("/place"), 90)
    focus = next(word.partition("=")[2] for word in arguments if word.startswith("--ginkgo.focus="))
    assert re.search(focus, f"Kubernetes e2e suite [sig-network] {name}")
    assert not re.search(focus, f"Kubernetes e2e suite [sig-network] {name} [Serial]")
    assert {"--ginkgo.timeout=90s", "--num-nodes=3"} <= set(arguments)


@pytest.mark.parametrize(
    ("result", "acceptable"),
    [
        (make_result(State.PASSED), True),
        (make_result(State.SKIPPED), True),
        (make_result(State.FAILED), False),
        (make_result(State.FAILED, known="a reason"), True),
        (make_result(State.NOT_RUN), False),
    ],
)
def test_only_known_failures_are_accepted(result: Result, acceptable: bool) -> None:
    assert result.is_acceptable is acceptable
    assert json.loads(to_json([result], IpFamily.DUAL))["accepted"] is acceptable


def test_the_summary_counts() -> None:
    results = [make_result(State.PASSED), make_result(State.FAILED, known="a reason"), make_result(State.FAILED)]
    assert summary(results) == "1 passed, 2 failed (1 known to), 0 skipped; 3 s of cases"
    assert summary([make_result(State.NOT_RUN)]).startswith("0 passed, 0 failed (0 known to), 0 skipped, 1 not run")


def test_a_known_failure_holds_for_its_families_and_is_named_when_it_passes() -> None:
    known = KnownFailure(case="Services a", reason="a reason", families=["ipv6"])
    plan = Plan(groups=[], left_out=[], known_failures=[known])
    assert plan.reason_to_fail("Services a", IpFamily.IPV6) == "a reason"
    assert plan.reason_to_fail("Services a", IpFamily.DUAL) is None
    assert stale_failures([make_result(State.PASSED)], plan, IpFamily.IPV6) == ["Services a"]
    assert stale_failures([make_result(State.FAILED)], plan, IpFamily.IPV6) == []


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading of the document, without its head."""
    section = DOCUMENT.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    # A `|` inside a cell is written `\|`.
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_the_document_lists_what_is_left_out() -> None:
    plan = read_plan(PLAN.read_text())
    assert [LeftOut(cases=cases.strip("`"), reason=reason) for cases, reason in rows("Not run")] == plan.left_out


def test_the_document_lists_what_is_known_to_fail() -> None:
    plan = read_plan(PLAN.read_text())
    written = [
        KnownFailure(case=case, reason=reason, families=families.split(", "))
        for case, families, reason in rows("Known to fail")
    ]
    assert written == [
        KnownFailure(case=each.case, reason=each.reason, families=list(each.families)) for each in plan.known_failures
    ]


def test_every_name_leads_to_an_image_of_ours() -> None:
    registry = conformance_images.REGISTRY
    listed = [
        "agnhost:2.1",
        "agnhost:2.2",
        "busybox:1",
        "pause:3",
        "volume/nfs:1",
        "etcd:3",
        "regression-issue-74839:1",
    ]
    text = "\n".join(["elsewhere/agnhost:9", *(f"{registry}/{name}" for name in listed)])
    assert conformance_images.names_by_image(text) == {
        "agnhost": [f"{registry}/agnhost:2.1", f"{registry}/agnhost:2.2", f"{registry}/busybox:1"],
        "pause": [f"{registry}/pause:3"],
        "regression-issue-74839": [f"{registry}/regression-issue-74839:1"],
    }
    assert set(json.loads(conformance_images.repository_list()).values()) == {registry}


def test_the_tests_are_of_the_version_of_the_control_plane() -> None:
    for module in (programs.E2E, programs.KUBERNETES):
        text = (module.directory / "go.mod").read_text()
        assert re.search(rf"k8s\.io/kubernetes {re.escape(programs.KUBERNETES_VERSION)}\b", text)
