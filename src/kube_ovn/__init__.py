"""Kube-OVN: a Kubernetes network fabric on OVN and Open vSwitch."""
