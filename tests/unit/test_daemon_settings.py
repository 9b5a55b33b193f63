"""The daemon's flags, and what they refuse."""

from ipaddress import ip_address

import pytest

from kube_ovn.config import parse_flags
from kube_ovn.daemon.settings import Settings


def test_flags_and_environment() -> None:
    environ = {"NODE_NAME": "node1", "POD_IP": "172.30.0.11", "MTU": "9000"}
    settings = parse_flags(Settings, "kube-ovn-cniserver", ["--iface=eth1,bond.*", "--mtu=0"], environ)
    assert settings.node_name == "node1"
    assert settings.pod_ip == (ip_address("172.30.0.11"),)
    assert settings.iface == ("eth1", "bond.*")
    assert settings.mtu == 0
    assert settings.node_switch == "join"
    assert settings.metrics_address == ""


def test_where_health_is_served() -> None:
    for text, address in (("", ""), ("172.30.0.11", "172.30.0.11"), ("fd00:0::11", "fd00::11")):
        assert parse_flags(Settings, "p", [f"--metrics-address={text}"], {}).metrics_address == address


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("--network-type=stt", "'stt' is not one of geneve, vxlan"),
        ("--pod-ip=node1", "'node1' is not an IP address"),
        ("--iface=eth1,(", "'(' is neither a name nor a regular expression"),
        ("--mtu=big", "invalid literal"),
        ("--metrics-address=node1", "'node1' does not appear to be an IPv4 or IPv6 address"),
    ],
)
def test_wrong_flag_is_one_sentence(flag: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_flags(Settings, "kube-ovn-cniserver", [flag], {})
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert flag.partition("=")[0] in said
    assert sentence in said
    assert "Traceback" not in said
