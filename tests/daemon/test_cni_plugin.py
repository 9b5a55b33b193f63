"""The plugin's own tests, which run the real binary against a real unix socket, and the checks of its language."""

from pathlib import Path

from sandbox.command import run
from sandbox.toolchain import ensure_go

PLUGIN = Path(__file__).resolve().parents[2] / "cni"
DEADLINE = 300.0


def test_the_plugin_passes_its_own_tests() -> None:
    go = ensure_go()
    assert run([go.program, "vet", "./..."], cwd=PLUGIN, env=go.environment, timeout=DEADLINE) == ""
    assert "ok" in run([go.program, "test", "./..."], cwd=PLUGIN, env=go.environment, timeout=DEADLINE)


def test_the_plugin_is_small_and_stands_on_the_standard_library_alone() -> None:
    assert (PLUGIN / "main.go").read_text().count("\n") < 150
    assert "require" not in (PLUGIN / "go.mod").read_text()
