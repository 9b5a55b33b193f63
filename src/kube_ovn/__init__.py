"""Kube-OVN: a Kubernetes network fabric on OVN and Open vSwitch."""

import sys

if "rich" not in sys.modules:
    # Where rich is installed, structlog loads it for tracebacks on a terminal. Ours are JSON, so each daemon would pay
    # 4 MB and a tenth of its start for nothing. The CLI loads rich by itself.
    sys.modules["rich"] = None  # type: ignore[assignment]
    import structlog  # noqa: F401

    del sys.modules["rich"]
