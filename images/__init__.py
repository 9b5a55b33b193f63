"""The container image of this project, and the manifest that installs it.

One image holds all parts: Debian with OVN and Open vSwitch, Python with our pinned dependencies, our own package, the
CNI plugin and the start scripts. It is built without a container engine: run `python -m images build`. The programs
that its containers start are named in charts/.
"""
