"""The chart and the image must agree with one another and with the programs: names, versions, scripts and flags."""

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from images.build import NAME, PROGRAM_DIR
from images.manifest import CHART
from images.python import programs
from kube_ovn.controller.settings import Settings
from kube_ovn.daemon import settings as daemon
from kube_ovn.topology.inputs import FOLLOWED
from sandbox.paths import PROJECT

TEMPLATES = {path.name: path.read_text() for path in sorted((CHART / "templates").glob("*.yaml"))}


def read_yaml(text: str) -> dict[str, Any]:
    return msgspec.yaml.decode(text, type=dict[str, Any])


def test_one_version_everywhere() -> None:
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    chart = read_yaml((CHART / "Chart.yaml").read_text())
    values = read_yaml((CHART / "ci" / "sandbox-values.yaml").read_text())
    assert chart["version"] == version
    assert chart["appVersion"] == f"v{version}"
    assert f"{values['image']['repository']}:{chart['appVersion']}" == NAME


def test_an_image_has_to_be_named() -> None:
    """A default would be an image of another implementation, or of whoever registers its name first."""
    values = read_yaml((CHART / "values.yaml").read_text())
    schema = read_yaml((CHART / "values.schema.json").read_text())
    assert values["image"]["repository"] == ""
    assert schema["properties"]["image"]["properties"]["repository"]["minLength"] == 1


def test_the_chart_starts_only_what_the_image_has() -> None:
    scripts = PROJECT / "images" / "scripts"
    entry_points = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["scripts"]
    started = {path for text in TEMPLATES.values() for path in re.findall(r"/usr/local/[a-z/-]+(?:\.sh)?", text)}
    assert started
    for path in started:
        folder, _, name = path.rpartition("/")
        if folder == "/usr/local/bin":
            assert name in entry_points
        else:
            assert folder == PROGRAM_DIR
            assert (scripts / name).stat().st_mode & 0o111 == 0o111


@pytest.mark.parametrize(
    ("template", "settings"), [("kube-ovn-controller.yaml", Settings), ("kube-ovn-cni.yaml", daemon.Settings)]
)
def test_programs_know_every_flag_the_chart_gives_them(template: str, settings: type) -> None:
    flags = set(re.findall(r"- (--[a-z-]+)=", TEMPLATES[template]))
    assert flags
    assert flags <= {f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(settings)}


def test_the_schema_knows_every_value() -> None:
    schema = read_yaml((CHART / "values.schema.json").read_text())
    assert unknown(read_yaml((CHART / "values.yaml").read_text()), schema) == []


def unknown(values: dict[str, Any], schema: dict[str, Any], path: str = "") -> list[str]:
    """Paths of values that the schema has no word about."""
    found = []
    for key, value in values.items():
        known = schema.get("properties", {}).get(key)
        if known is None:
            found.append(f"{path}{key}")
        elif isinstance(value, dict) and "properties" in known:
            found += unknown(value, known, f"{path}{key}.")
    return found


def test_services_are_all_answered_for_unless_told_otherwise() -> None:
    values = read_yaml((CHART / "values.yaml").read_text())
    schema = read_yaml((CHART / "values.schema.json").read_text())
    assert values["services"] == daemon.Settings().services == daemon.ALL_SERVICES
    assert schema["properties"]["services"]["enum"] == [daemon.ALL_SERVICES, daemon.CLUSTER_IP_ONLY]
    for choice in schema["properties"]["services"]["enum"]:
        assert daemon.parse_services(choice) == choice


def test_health_is_served_at_the_nodes_address_unless_told_otherwise() -> None:
    values = read_yaml((CHART / "values.yaml").read_text())
    schema = read_yaml((CHART / "values.schema.json").read_text())
    helpers = (CHART / "templates" / "_helpers.tpl").read_text()
    choices = re.search(r"index \(dict (.*)\) \.Values\.metrics\.bind", helpers)
    assert choices is not None
    words = [word.strip('"') for word in choices[1].split()]
    addresses = dict(zip(words[::2], words[1::2], strict=True))
    assert addresses == {"node": "$(POD_IP)", "loopback": "127.0.0.1", "all": ""}
    assert schema["properties"]["metrics"]["properties"]["bind"]["enum"] == list(addresses)
    assert values["metrics"] == {"bind": "node"}
    assert "- name: POD_IP\n  valueFrom: {fieldRef: {fieldPath: status.podIP}}\n" in helpers
    for name in ("kube-ovn-controller.yaml", "kube-ovn-cni.yaml"):
        assert '- --metrics-address={{ include "kube-ovn.metricsAddress" . }}' in TEMPLATES[name]
        assert 'include "kube-ovn.probes"' in TEMPLATES[name]
        assert "Probe:" not in TEMPLATES[name], "probes must ask where the port is served"


def test_the_daemon_may_read_what_it_follows() -> None:
    rules = TEMPLATES["rbac.yaml"].partition("name: system:kube-ovn-cni\n")[2].partition("---")[0]
    for plural in ("pods, nodes", "services", "endpointslices", "servicecidrs", "subnets"):
        verbs = re.search(rf"resources: \[{plural}\].*\n    verbs: \[(.*)\]", rules)
        assert verbs is not None, plural
        assert {"list", "watch"} <= set(verbs[1].split(", ")), plural


def test_the_controller_may_read_what_it_follows() -> None:
    rules = TEMPLATES["rbac.yaml"].partition("kind: ClusterRole\n")[2].partition("---")[0]
    assert "name: system:ovn\n" in rules
    allowed = set[tuple[str, str]]()
    for groups, resources, verbs in re.findall(
        r"apiGroups: \[(.*)\]\n +resources: \[(.*)\].*\n +verbs: \[(.*)\]", rules
    ):
        if {"list", "watch"} <= set(verbs.split(", ")):
            allowed |= {(group.strip('"'), each) for group in groups.split(", ") for each in resources.split(", ")}
    wanted = {(each.version.rpartition("/")[0], each.plural) for each in FOLLOWED}
    assert wanted <= allowed


def test_no_namespace_is_fixed() -> None:
    for name, text in TEMPLATES.items():
        assert set(re.findall(r"^\s*namespace: (.*)$", text, re.MULTILINE)) <= {
            "{{ .Release.Namespace }}",
            "{{ $.Release.Namespace }}",
            "kube-system  # where kubeadm keeps it",
        }, name


def test_programs_run_isolated_and_call_their_entry_point(tmp_path: Path) -> None:
    declared = tmp_path / "x-1.dist-info" / "entry_points.txt"
    declared.parent.mkdir()
    declared.write_text("[console_scripts]\nsay = a.b:main\n")
    made = programs(tmp_path)
    assert list(made) == ["/usr/local/bin/say"]
    content = made["/usr/local/bin/say"].content
    assert isinstance(content, bytes)
    assert content.decode().splitlines() == [
        "#!/usr/bin/python3 -I",
        "import sys",
        "",
        "from a.b import main",
        "",
        "sys.exit(main())",
    ]


def test_deployments_leave_a_dead_node_and_daemon_sets_stay() -> None:
    for name, text in TEMPLATES.items():
        if "kind: Deployment" in text or "kind: DaemonSet" in text:
            leaves = '"kube-ovn.podSpec" . | nindent 6 }}\n        {{- include "kube-ovn.leaveDeadNode"' in text
            assert leaves is ("kind: Deployment" in text), name
    taints = re.findall(r"key: (\S+), .*tolerationSeconds: (\d+)", (CHART / "templates" / "_helpers.tpl").read_text())
    assert taints == [("node.kubernetes.io/unreachable", "60"), ("node.kubernetes.io/not-ready", "60")]


def test_no_container_of_the_node_daemon_is_privileged() -> None:
    """Forwarding is set by the daemon alone, through the node's own files."""
    text = TEMPLATES["kube-ovn-cni.yaml"]
    assert "privileged: true" not in text
    assert text.count("allowPrivilegeEscalation: false") == text.count("securityContext:") == 2
    assert "{name: sysctls, mountPath: /host/proc/sys/net}" in text
    assert "hostPath: {path: /proc/sys/net, type: Directory}" in text
    script = (PROJECT / "images" / "scripts" / "install-cni.sh").read_text()
    assert "/proc/sys" not in script
