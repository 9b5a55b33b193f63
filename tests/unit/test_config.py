"""Flags and the environment: what wins, and what a wrong one says."""

import pytest

from kube_ovn.config import parse_flags
from kube_ovn.controller.settings import Settings
from kube_ovn.topology.subnets.verdict import parse_subnet


def test_a_flag_wins_over_the_environment() -> None:
    environ = {"OVN_NB_ADDR": "tcp:1.1.1.1:6641", "DEFAULT_LS": "blue"}
    settings = parse_flags(Settings, "p", ["--ovn-nb-addr=tcp:2.2.2.2:6641, tcp:3.3.3.3:6641"], environ)
    assert settings.ovn_nb_addr == ("tcp:2.2.2.2:6641", "tcp:3.3.3.3:6641")
    assert settings.default_ls == "blue"


def test_a_wrong_value_names_its_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_flags(Settings, "p", ["--pprof-port=http"], {})
    assert ended.value.code == 2
    assert "--pprof-port" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("cidr", "gateway", "message"),
    [
        ("10.0.0.1/24", "", "host bits"),
        ("10.0.0.0/31", "", "too small"),
        ("10.0.0.0/24,10.1.0.0/24", "", "same IP family"),
        ("nonsense", "", "is not a CIDR"),
        ("10.0.0.0/24", "10.1.0.1", "not a host address"),
        ("10.0.0.0/24", "10.0.0.255", "not a host address"),
        ("10.0.0.0/32", "", "too small"),
        ("fd00::/127", "", "too small"),
        ("10.0.0.0/24", "fd00::1", "another IP family"),
        ("127.0.0.0/16", "", "loopback"),
        ("fe80::/64", "", "link-local"),
        ("224.0.0.0/8", "", "multicast"),
        ("0.0.0.0/8", "", "CIDR 0.0.0.0/8 holds the unspecified address; choose another"),
        ("0.1.0.0/16", "", "an unspecified address"),
        ("240.0.0.0/24", "", "CIDR 240.0.0.0/24 holds a reserved address; choose another"),
        ("255.255.255.0/24", "", "the broadcast address"),
        ("192.0.0.0/24", "", "CIDR 192.0.0.0/24 holds an address of the fabric's links; choose another"),
        ("10.0.0.0/24,fd6b:7562:656f:766e::/112", "", "fd6b:7562:656f:766e::/112 holds an address of the"),
        ("fc00::/7", "", "fabric's links"),
        ("::/96", "", "the unspecified address"),
        ("::2:0/112", "", "a reserved address"),
    ],
)
def test_a_wrong_subnet_says_why(cidr: str, gateway: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_subnet("s", cidr, gateway)


@pytest.mark.parametrize(
    "cidr",
    [
        *("100.64.0.0/10", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "192.0.1.0/24", "203.0.113.0/24"),
        *("2001:db8::/32", "fd00::/16,10.0.0.0/8", "fd6b:7562:656f:766f::/64", "fd6b:7562:656f:766e:1::/112"),
    ],
)
def test_a_subnet_may_lie_anywhere_else(cidr: str) -> None:
    assert parse_subnet("s", cidr).cidrs


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--default-cidr=100.64.0.0/10"], "--default-cidr 100.64.0.0/10 and --node-switch-cidr 100.64.0.0/16 overlap"),
        (["--default-cidr=10.96.0.0/16"], "10.96.0.0/12 and --default-cidr 10.96.0.0/16 overlap"),
        (["--default-cidr=10.16.0.0/16,fd00::/112"], "same IP families"),
    ],
)
def test_ranges_that_do_not_go_together_are_refused(flags: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_flags(Settings, "p", flags, {}).fabric()
