"""Tests run side by side as they would one after another: each in its turn, each told, none lost."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

from sandbox.paths import PROJECT

CONFTEST = """
    import time
    from pathlib import Path

    import pytest

    pytest_plugins = ["tests.lanes"]
    HERE = Path(__file__).parent

    def pytest_collection_modifyitems(items):
        from tests.lanes import PLACE, Place

        for item in items:
            mark = item.get_closest_marker("place")
            if mark:
                item.stash[PLACE] = Place(**{"stage": 0, "alone": False, "group": item.name, **mark.kwargs})

    @pytest.fixture
    def meet(request):
        def wait_for(*names):
            (HERE / request.node.name).touch()
            end = time.monotonic() + 20
            while not all((HERE / name).exists() for name in names):
                assert time.monotonic() < end, f"{names} do not run at the time"
                time.sleep(0.01)

        return wait_for

    @pytest.fixture
    def log():
        def add(text):
            with (HERE / "log").open("a") as file:
                file.write(text + "\\n")

        return add
"""


def run(folder: Path, text: str, *arguments: str) -> tuple[int, str]:
    """Exit code and output of pytest over one file of tests."""
    (folder / "conftest.py").write_text(dedent(CONFTEST))
    (folder / "test_it.py").write_text("import os, pytest\nplace = pytest.mark.place\n" + dedent(text))
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = place\n")
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--rootdir={folder}",
        *arguments,
        str(folder),
    ]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLUMNS": "200"}
    done = subprocess.run(argv, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


def test_what_has_no_place_gets_the_processor_time_that_is_left(tmp_path: Path) -> None:
    text = """
        @place()
        def test_a(): assert os.getsid(0) == os.getsid(os.getppid())
        def test_b(): assert os.getsid(0) == os.getpid() and os.nice(0) == 19
    """
    code, said = run(tmp_path, text, "--lanes=2")
    assert code == 0, said
    assert "2 passed" in said.splitlines()[-1]


def test_groups_run_at_the_time_and_what_has_no_place_beside_them(tmp_path: Path) -> None:
    text = """
        @place()
        def test_a(meet): meet("test_b", "test_c")
        @place()
        def test_b(meet): meet("test_a", "test_c")
        def test_c(meet): meet("test_a", "test_b")
    """
    code, said = run(tmp_path, text, "--lanes=2")
    assert code == 0, said
    assert "3 passed" in said.splitlines()[-1]


def test_without_lanes_they_run_one_after_another(tmp_path: Path) -> None:
    text = """
        @place(stage=1)
        def test_a(log): log("a")
        @place(alone=True)
        def test_b(log): log("b")
        def test_c(log): log("c")
    """
    code, said = run(tmp_path, text)
    assert code == 0, said
    assert (tmp_path / "log").read_text().split() == ["a", "b", "c"]


def test_stages_come_in_order_and_in_each_what_must_be_alone_last(tmp_path: Path) -> None:
    text = """
        import time
        def slowly(log, name):
            log(f"+{name}")
            time.sleep(0.3)
            log(f"-{name}")
        @place(stage=1)
        def test_a(log): slowly(log, "a")
        @place(alone=True)
        def test_b(log): slowly(log, "b")
        @place(alone=True)
        def test_c(log): slowly(log, "c")
        @place()
        def test_d(log): slowly(log, "d")
    """
    code, said = run(tmp_path, text, "--lanes=4")
    assert code == 0, said
    assert (tmp_path / "log").read_text().split() == ["+d", "-d", "+b", "-b", "+c", "-c", "+a", "-a"]


def test_a_group_is_one_process_and_shares_its_fixtures(tmp_path: Path) -> None:
    text = """
        @pytest.fixture(scope="module")
        def made(log):
            log("made")
            yield os.getpid()
            log("gone")
        @pytest.fixture(scope="module")
        def log():
            from conftest import HERE
            return lambda text: (HERE / "log").open("a").write(text + "\\n")
        @place(group="one")
        def test_a(made): assert made == os.getpid()
        @place(group="one")
        def test_b(made): assert made == os.getpid()
    """
    code, said = run(tmp_path, text, "--lanes=4")
    assert code == 0, said
    assert (tmp_path / "log").read_text().split() == ["made", "gone"]


def test_failures_are_told_with_what_their_own_test_printed(tmp_path: Path) -> None:
    text = """
        @pytest.fixture
        def broken():
            yield
            raise ValueError("in the end")
        @place()
        def test_a(meet):
            print("said by a")
            meet("test_b")
            assert False
        @place()
        def test_b(meet):
            print("said by b")
            meet("test_a")
        @place()
        def test_c(broken): pass
    """
    code, said = run(tmp_path, text, "--lanes=3")
    assert code == 1
    assert "said by a" in said
    assert "said by b" not in said
    assert "ValueError: in the end" in said
    assert said.splitlines()[-1].startswith("1 failed, 2 passed, 1 error")


def test_a_process_that_dies_fails_its_tests_and_no_others(tmp_path: Path) -> None:
    text = """
        @place(group="one")
        def test_a(): pass
        @place(group="one")
        def test_b(): os._exit(3)
        @place(group="one")
        def test_c(): pass
        @place()
        def test_d(): pass
    """
    code, said = run(tmp_path, text, "--lanes=2")
    assert code == 1
    assert "test_b - the process of this test ended (exit code 3)" in said
    assert "test_c - the process of this test ended" in said
    assert said.splitlines()[-1].startswith("2 failed, 2 passed")


def test_a_warning_is_told_once(tmp_path: Path) -> None:
    text = """
        import warnings
        @place(group="one", stage=0)
        def test_a(): warnings.warn("of a")
        @place(group="two", stage=1)
        def test_b(): pass
        @place(group="three", stage=2)
        def test_c(): pass
    """
    code, said = run(tmp_path, text, "--lanes=2")
    assert code == 0, said
    assert "3 passed, 1 warning in" in said.splitlines()[-1]
