"""The command line: `python -m images build` and `python -m images manifest`."""

import argparse
import sys
from pathlib import Path

from images.build import build_image
from images.manifest import render_manifest
from sandbox.paths import SandboxError


def main(argv: list[str]) -> int:
    """Run one command; its result goes to standard output, progress and errors to standard error."""
    parser = argparse.ArgumentParser(prog="python -m images", description="Build what is installed into a cluster.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="build the image and print the path of its archive")
    manifest = commands.add_parser("manifest", help="print the manifest that the chart renders to")
    manifest.add_argument("--values", type=Path, required=True, help="file of chart values")
    manifest.add_argument("--namespace", default="kube-system", help="where to install (default: %(default)s)")
    chosen = parser.parse_args(argv)
    try:
        if chosen.command == "build":
            print(build_image())
        else:
            print(render_manifest(values=chosen.values, namespace=chosen.namespace), end="")
    except SandboxError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


sys.exit(main(sys.argv[1:]))
