"""Programs that no registry has as packages: Kubernetes and its own tests, helm, pause, the CNI plugins.

Each is taken from KUBEBUILDER_ASSETS or PATH when it is there in the right version, else built once from Go modules
pinned in a folder each and cached. Starting them is done elsewhere.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.command import attempt, run
from sandbox.paths import PROJECT, SandboxError, cache_dir
from sandbox.progress import say, step
from sandbox.toolchain import Go, ensure_go

KUBERNETES_VERSION = "v1.37.2"
_BUILD_DEADLINE = 3600.0
_PROGRESS_INTERVAL = 15.0
_VERSION_VARIABLES = "k8s.io/component-base/version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A go.mod of ours and the programs that are built from it."""

    name: str
    version: str
    packages: dict[str, str]
    home: str = "sandbox"
    linker_flags: str = "-s -w"
    # The programs that are a package's tests, not its main function.
    tests: frozenset[str] = field(default_factory=frozenset)
    # A pattern that the version of a program found on PATH must match; without one the program is always built.
    version_argument: str = "--version"
    accepted: re.Pattern[str] | None = None
    never_from_path: frozenset[str] = field(default_factory=frozenset)

    @property
    def directory(self) -> Path:
        """The directory of the go.mod."""
        return PROJECT / self.home / self.name


def kubernetes_linker_flags(version: str) -> str:
    """The linker flags that give the programs their version, which is 0 otherwise."""
    major, minor = version.lstrip("v").split(".")[:2]
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    return " ".join(["-s -w", *(f"-X {_VERSION_VARIABLES}.{name}={value}" for name, value in values.items())])


KUBERNETES = Module(
    name="k8s",
    version=KUBERNETES_VERSION,
    packages={
        "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
        "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
        "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
        "kubelet": "k8s.io/kubernetes/cmd/kubelet",
        "agnhost": "k8s.io/kubernetes/test/images/agnhost",
    },
    linker_flags=kubernetes_linker_flags(KUBERNETES_VERSION),
    accepted=re.compile(r"\bv1\.37\.\d+$", re.MULTILINE),
    never_from_path=frozenset({"agnhost"}),
)
E2E = Module(
    name="e2e",
    version=KUBERNETES_VERSION,
    packages={
        "e2e.test": "k8s.io/kubernetes/test/e2e",
        "regression-issue-74839": "k8s.io/kubernetes/test/images/regression-issue-74839",
    },
    tests=frozenset({"e2e.test"}),
    linker_flags=kubernetes_linker_flags(KUBERNETES_VERSION),
)
HELM = Module(
    name="helm",
    version="v4.3.1",
    packages={"helm": "helm.sh/helm/v4/cmd/helm"},
    version_argument="version",
    accepted=re.compile(r'Version:"v4\.'),
)
# For nodes that have none: the plugins that runtimes and our own configuration call besides kube-ovn.
CNI_PLUGINS = Module(
    name="plugins",
    home="images",
    version="v1.9.1",
    packages={
        "loopback": "github.com/containernetworking/plugins/plugins/main/loopback",
        "portmap": "github.com/containernetworking/plugins/plugins/meta/portmap",
    },
)
PAUSE = Module(name="pause", version="v1", packages={"pause": "."})


def find_programs(*modules: Module) -> dict[str, Path]:
    """Every program of these modules by name, built where needed."""
    programs: dict[str, Path] = {}
    for module in modules:
        found = {name: path for name in module.packages if (path := _find_installed(module, name)) is not None}
        missing = sorted(module.packages.keys() - found.keys())
        programs |= found
        programs |= _find_built(module, missing) if missing else {}
    return programs


def _find_installed(module: Module, name: str) -> Path | None:
    if module.accepted is None or name in module.never_from_path:
        return None
    for place in (os.environ.get("KUBEBUILDER_ASSETS"), os.environ.get("PATH", "")):
        # env.sh puts the sandbox's own directory on PATH; its links are made from the programs that are found here.
        directories = [part for part in (place or "").split(os.pathsep) if part and "kube-ovn-sandbox" not in part]
        found = shutil.which(name, path=os.pathsep.join(directories)) if directories else None
        if found is not None:
            code, output, _ = attempt([found, module.version_argument], timeout=20)
            if code == 0 and module.accepted.search(output):
                return Path(found)
    return None


def build_key(module: Module) -> str:
    """A key that changes with every input of the build."""
    digest = hashlib.sha256(f"{module.packages}{module.linker_flags}{os.uname().machine}".encode())
    for path in sorted(module.directory.glob("*")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"{module.version}-{digest.hexdigest()[:12]}"


def _find_built(module: Module, names: list[str]) -> dict[str, Path]:
    place = cache_dir() / ("kubernetes" if module is KUBERNETES else module.name) / build_key(module)
    missing = [name for name in names if not (place / name).exists()]
    if missing:
        with step(f"building {', '.join(missing)} {module.version} (once; kept in the cache)"):
            _build(module, missing, place, ensure_go())
    return {name: place / name for name in names}


def _build(module: Module, names: list[str], place: Path, go: Go) -> None:
    partial = place.with_name(f"{place.name}.partial-{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        programs = [module.packages[name] for name in names if name not in module.tests]
        if programs:
            _compile(module, go, programs, partial)
        for name in sorted(module.tests.intersection(names)):
            _compile_tests(module, go, module.packages[name], partial / name)
        place.mkdir(parents=True, exist_ok=True)
        for name in names:
            (partial / name).rename(place / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _compile(module: Module, go: Go, packages: list[str], target: Path | None) -> None:
    """Compile packages; the programs among them appear in the directory `target`. Without one only the compiler's own
    cache is filled.
    """
    listed = run([go.program, "list", "-deps", *packages], timeout=600, env=go.environment, cwd=module.directory)
    argv = [str(go.program), "build", "-v", "-trimpath", "-ldflags", module.linker_flags]
    argv += [] if target is None else ["-o", f"{target}/"]
    _watch_build([*argv, *packages], go, module.directory, len(listed.split()))


def _compile_tests(module: Module, go: Go, package: str, program: Path) -> None:
    # `go test` does not print the packages that it compiles, and most of them are those that the tests import.
    imports = [str(go.program), "list", "-f", '{{join .TestImports " "}}', package]
    _compile(module, go, run(imports, timeout=600, env=go.environment, cwd=module.directory).split(), None)
    argv = [str(go.program), "test", "-c", "-vet=off", "-trimpath", "-ldflags", module.linker_flags]
    run([*argv, "-o", str(program), package], timeout=_BUILD_DEADLINE, env=go.environment, cwd=module.directory)


def module_file(module: Module, path: str, name: str) -> Path:
    """A file of one of the modules that this one is built from, as it was published."""
    go = ensure_go()
    argv = [str(go.program), "mod", "download", "-json", path]
    answer = json.loads(run(argv, timeout=600, env=go.environment, cwd=module.directory))
    return Path(answer["Dir"]) / name


def _watch_build(argv: list[str], go: Go, directory: Path, total: int) -> None:
    """Run the compiler and print now and then how far it is: with -v it names each package that it compiles."""
    started = reported = time.monotonic()
    lines: list[str] = []
    process = subprocess.Popen(
        argv, cwd=directory, env=go.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            now = time.monotonic()
            if now - started > _BUILD_DEADLINE:
                raise SandboxError(f"the build did not end within {_BUILD_DEADLINE:.0f} s")
            if now - reported >= _PROGRESS_INTERVAL:
                reported = now
                say(f"  compiled {len(lines)} of at most {total} packages")
        code = process.wait()
    finally:
        process.kill()
        process.wait()
    if code != 0:
        raise SandboxError("the build failed: " + "\n".join(lines[-12:]))
