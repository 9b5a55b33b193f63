"""The command line of the sandbox: reads the words, calls the part that does it, shows errors as one sentence."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from sandbox import cluster, conformance, demo, network, node, node_images, process, programs, rights, toolchain
from sandbox.layout import MOST_NODES, OUTSIDE_NETNS, IpFamily, parse_node
from sandbox.paths import SandboxError

_INTERRUPTED = 130


def _deps(_: argparse.Namespace) -> int:
    toolchain.ensure_packages()
    return 0


def _build(_: argparse.Namespace) -> int:
    toolchain.ensure_packages()
    for name, path in programs.find_programs(programs.KUBERNETES, programs.HELM, programs.PAUSE).items():
        print(f"{name}\t{path}")
    return 0


def _up(arguments: argparse.Namespace) -> int:
    family = read_family(os.environ.get("IP_FAMILY", IpFamily.IPV4))
    nodes = _node_count(arguments)
    rights.check_root()
    with rights.only_one():
        toolchain.ensure_packages()
        rights.check_machine()
        cluster.up(nodes, family)
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    demo.demo(_node_count(arguments), read_family(os.environ.get("IP_FAMILY", IpFamily.IPV4)))
    return 0


def _conformance(arguments: argparse.Namespace) -> int:
    wishes = conformance.Wishes(
        groups=arguments.group,
        focus=arguments.focus,
        case_timeout=arguments.case_timeout,
        deadline=arguments.deadline,
    )
    family = read_family(os.environ.get("IP_FAMILY", IpFamily.IPV4))
    wanted = None if arguments.as_is else (_node_count(arguments), family)
    return conformance.main(wishes, wanted, as_json=arguments.output == "json")


def _node_count(arguments: argparse.Namespace) -> int:
    if not 1 <= arguments.nodes <= MOST_NODES:
        raise SandboxError(f"a sandbox has 1 to {MOST_NODES} nodes, not {arguments.nodes}")
    return int(arguments.nodes)


def read_family(text: str) -> IpFamily:
    """The value of IP_FAMILY."""
    try:
        return IpFamily(text)
    except ValueError as error:
        raise SandboxError(f"IP_FAMILY is {text!r}; it may be ipv4, ipv6 or dual") from error


def _down(_: argparse.Namespace) -> int:
    rights.check_root()
    with rights.only_one():
        cluster.down()
    return 0


def _kill(arguments: argparse.Namespace) -> int:
    rights.check_root()
    with rights.only_one():
        if not process.kill([arguments.process]):
            raise SandboxError(f"{arguments.process} does not run; `sandbox status` lists what does")
    return 0


def _status(_: argparse.Namespace) -> int:
    rights.check_root()
    print(cluster.status())
    return 0


def _load(arguments: argparse.Namespace) -> int:
    rights.check_root()
    archive = Path(arguments.archive)
    if not archive.is_file():
        raise SandboxError(f"there is no file {archive}")
    nodes = cluster.recorded_cluster().nodes
    loaded = node_images.load(archive, nodes)
    print(f"{archive.name}: loaded into {', '.join(loaded)}" if loaded else f"{archive.name}: every node has it")
    return 0


def _exec(arguments: argparse.Namespace) -> int:
    rights.check_root()
    command = _without_separator(arguments.command) or ["/bin/bash"]
    argv = node.enter_arguments(parse_node(arguments.node), command)
    os.execvp(argv[0], argv)


def _outside(arguments: argparse.Namespace) -> int:
    rights.check_root()
    cluster.recorded_cluster()
    command = _without_separator(arguments.command) or ["/bin/sh"]
    os.execvp("nsenter", ["nsenter", f"--net={network.netns_path(OUTSIDE_NETNS)}", "--", *command])


def _without_separator(words: Sequence[str]) -> list[str]:
    return list(words[1:] if words[:1] == ["--"] else words)


def _outside_log(_: argparse.Namespace) -> int:
    if cluster.OUTSIDE_LOG.exists():
        print(cluster.OUTSIDE_LOG.read_text(), end="")
    return 0


def _logs(arguments: argparse.Namespace) -> int:
    known = sorted(path.stem for path in process.log_path("any").parent.glob("*.log"))
    # The name of a node means its kubelet and containerd as well.
    name = arguments.name
    chosen = [each for each in known if name is None or each == name or each.startswith(f"{name}-")]
    if not chosen:
        raise SandboxError(f"there is no log of {name}; there are: {', '.join(known) or 'none'}")
    follow = ["-F"] if arguments.follow else []
    paths = [str(process.log_path(each)) for each in chosen]
    os.execvp("tail", ["tail", "-n", str(arguments.lines), *follow, *paths])


def make_parser() -> argparse.ArgumentParser:
    """All commands and their words."""
    parser = argparse.ArgumentParser(prog="sandbox", description="A real Kubernetes on this one machine.")
    commands = parser.add_subparsers(dest="subcommand", metavar="COMMAND", required=True)

    def add(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    add("deps", _deps, "install the Debian packages the sandbox needs, if any is missing")
    add("build", _build, "build Kubernetes, helm and pause into the cache, and print where they are")
    up = add("up", _up, "make the cluster, or repair what is missing of it")
    up.add_argument("--nodes", type=int, default=2, help="how many nodes (default 2)")
    shown = add("demo", _demo, "make the cluster, install kube-ovn into it and show Pods reaching one another")
    shown.add_argument("--nodes", type=int, default=2, help="how many nodes (default 2)")
    tests = add("conformance", _conformance, "run Kubernetes' own cases for Services, DNS and the rest of its network")
    tests.add_argument("--nodes", type=int, default=2, help="how many nodes (default 2)")
    tests.add_argument("--as-is", action="store_true", help="on the sandbox as it is; install nothing into it")
    tests.add_argument("--group", action="append", default=[], help="only this group; may be repeated")
    tests.add_argument("--focus", default="", metavar="REGEX", help="only cases whose name has this in it")
    tests.add_argument("-o", "--output", choices=("table", "json"), default="table")
    tests.add_argument(
        "--case-timeout", type=float, default=conformance.CASE_TIMEOUT, metavar="SECONDS", help="of one case (300)"
    )
    tests.add_argument(
        "--deadline", type=float, default=conformance.DEADLINE, metavar="SECONDS", help="begin no case after it (7200)"
    )
    add("down", _down, "remove the cluster and all it made")
    add("status", _status, "show the processes and nodes")
    kill = add("kill", _kill, "end a process or a whole node at once, as a crash would; `up` brings it back")
    kill.add_argument("process", metavar="NAME")
    load = add("load", _load, "import an image archive into every node")
    load.add_argument("archive", metavar="IMAGE.tar")
    run = add("exec", _exec, "run a command inside a node")
    run.add_argument("node", metavar="NODE")
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="CMD")
    outside = add("outside", _outside, "run a command on the outside host")
    outside.add_argument("command", nargs=argparse.REMAINDER, metavar="CMD")
    add("outside-log", _outside_log, "show who talked to the outside host")
    logs = add("logs", _logs, "show logs: of a node, etcd, kube-apiserver, ...; without a name all of them")
    logs.add_argument("name", nargs="?")
    logs.add_argument("-f", "--follow", action="store_true", help="go on as lines arrive")
    logs.add_argument("-n", "--lines", type=int, default=100, help="how many lines of each (default 100)")
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """Run one command."""
    arguments = make_parser().parse_args(words)
    try:
        code: int = arguments.run(arguments)
    except SandboxError as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("sandbox: interrupted; `sandbox up` goes on from here, `sandbox down` removes it", file=sys.stderr)
        return _INTERRUPTED
    return code


if __name__ == "__main__":
    sys.exit(main())
