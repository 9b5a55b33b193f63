"""The images Kubernetes' own tests ask for, under the names they ask for, made of Debian and Go modules.

The tests take the registries' names from a file; here all of them are `REGISTRY`, which does not exist, so that nothing
is ever pulled. An image can do only what the cases that are run ask of it.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from sandbox import node, node_images, programs
from sandbox.image_archive import File, archive_name, write_image
from sandbox.layout import Node
from sandbox.progress import step
from sandbox.rootfs import build_rootfs

REGISTRY = "localhost/e2e"
# The fields of the file that KUBE_TEST_REPO_LIST names.
_REGISTRIES = (
    "promoterE2eRegistry",
    "buildImageRegistry",
    "invalidRegistry",
    "gcEtcdRegistry",
    "gcRegistry",
    "sigStorageRegistry",
    "privateRegistry",
    "dockerLibraryRegistry",
    "cloudProviderGcpRegistry",
)
_PACKAGES = (
    "bash",
    "bind9-dnsutils",
    "ca-certificates",
    "curl",
    "iproute2",
    "netcat-openbsd",
    "wget",
)
_PORTER = "test/images/agnhost/porter"
# One image has all of these names: agnhost's own, that of an image for lookups with glibc, that of one with a shell for
# `nc` and `sleep`, and that of one that only has to run.
_AGNHOST_NAMES = frozenset({"agnhost", "glibc-dns-testing", "busybox", "nginx"})


def repository_list() -> str:
    """The content of the file that KUBE_TEST_REPO_LIST names. JSON is YAML."""
    return json.dumps(dict.fromkeys(_REGISTRIES, REGISTRY), indent=1) + "\n"


def names_by_image(listed: str) -> dict[str, list[str]]:
    """By image of ours, the names in the answer to `--list-images` that it is to have."""
    found: dict[str, list[str]] = {}
    for name in sorted(set(listed.split())):
        registry, _, rest = name.rpartition("/")
        short = rest.partition(":")[0]
        if registry == REGISTRY:
            found.setdefault("agnhost" if short in _AGNHOST_NAMES else short, []).append(name)
    return {image: names for image, names in found.items() if image in ("agnhost", "pause", "regression-issue-74839")}


def load(listed: str, tests: Mapping[str, Path], agnhost: Path, nodes: Sequence[Node]) -> None:
    """Build the images that are missing in the cache, and load all into every node."""
    archives = {
        "agnhost": _agnhost_archive(agnhost),
        "regression-issue-74839": _regression_archive(tests["regression-issue-74839"]),
    }
    sources = {image: archive_name(archive) for image, archive in archives.items()} | {"pause": node.PAUSE_IMAGE}
    with step("loading the images of the tests"):
        for archive in archives.values():
            node_images.load(archive, nodes)
        for image, names in names_by_image(listed).items():
            node_images.add_names(sources[image], names, nodes)


def _agnhost_archive(agnhost: Path) -> Path:
    root = build_rootfs(_PACKAGES)
    path = node_images.archive_path("e2e-agnhost", agnhost, root.parent.name)
    if not path.exists():
        with step("packing the image of the tests"):
            # `agnhost porter` serves TLS with these; no client checks the name in them.
            pair = {
                f"/localhost.{kind}": File(
                    content=programs.module_file(programs.E2E, "k8s.io/kubernetes", f"{_PORTER}/localhost.{kind}")
                )
                for kind in ("crt", "key")
            }
            write_image(
                path,
                f"{REGISTRY}/agnhost:sandbox",
                [root, {"/agnhost": File(content=agnhost, mode=0o755), **pair}],
                entrypoint=["/agnhost"],
                command=["pause"],
                env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
                exclude=["var/cache/*", "var/lib/dpkg/*", "var/lib/apt/*"],
            )
    return path


def _regression_archive(program: Path) -> Path:
    path = node_images.archive_path("e2e-regression", program)
    if not path.exists():
        entry = f"/{program.name}"
        layer = {entry: File(content=program, mode=0o755)}
        write_image(path, f"{REGISTRY}/{program.name}:sandbox", [layer], entrypoint=[entry])
    return path
