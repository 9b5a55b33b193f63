"""Settings of the programs: flags with the environment behind them, checked once at the start.

A settings class is a frozen dataclass whose fields are declared with `flag(...)`: field `ovn_nb_addr` is the flag
`--ovn-nb-addr` and the variable `OVN_NB_ADDR`; the flag wins. Flag names are the contract's (§5).
"""

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, TypeVar

from kube_ovn.model.addr import Address, Network, parse_addresses, parse_networks
from kube_ovn.model.network import Subnet

T = TypeVar("T")


def flag(default: Any, help: str, parse: Callable[[str], Any] = str) -> Any:
    """Declare a setting; `parse` turns the text into its value and raises ValueError with a sentence."""
    return dataclasses.field(default=default, metadata={"help": help, "parse": parse})


def parse_flags(settings: type[T], program: str, argv: Sequence[str], environ: Mapping[str, str]) -> T:
    """Read the settings; a wrong one ends the program with one sentence that names it (exit code 2)."""
    parser = argparse.ArgumentParser(prog=program, description=settings.__doc__, allow_abbrev=False)
    fields = dataclasses.fields(settings)  # type: ignore[arg-type]
    for field in fields:
        shown = field.default if isinstance(field.default, str | int | float) else ""
        parser.add_argument(f"--{field.name.replace('_', '-')}", help=f"{field.metadata['help']} (default: {shown})")
    given = vars(parser.parse_args(argv))
    values: dict[str, Any] = {}
    for field in fields:
        text = given[field.name] if given[field.name] is not None else environ.get(field.name.upper())
        if text is None:
            continue
        try:
            values[field.name] = field.metadata["parse"](text)
        except ValueError as error:
            parser.error(f"--{field.name.replace('_', '-')}: {error}")
    return settings(**values)


def parse_bool(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text == "true"


def parse_list(text: str) -> tuple[str, ...]:
    """Comma list without empty entries."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parse_subnet(name: str, cidr: str, gateway: str = "", exclude: str = "") -> Subnet:
    """A subnet from the texts of its flags: CIDRs, gateways (default: first address of each), ranges `a..b`.

    Raises ValueError with a sentence for the administrator.
    """
    networks = parse_networks(cidr)
    for network in networks:
        if network.num_addresses < 4:
            raise ValueError(f"subnet {name}: CIDR {network} is too small; it must hold at least 4 addresses")
    given = parse_addresses(gateway) if gateway else ()
    gateways = tuple(_gateway(name, network, given) for network in networks)
    excluded = tuple(map(_range, parse_list(exclude)))
    for low, high in excluded:
        if not any(low in network and high in network for network in networks):
            raise ValueError(f"subnet {name}: excluded {low}..{high} is not in its CIDR {cidr}")
    return Subnet(name=name, cidrs=networks, gateways=gateways, exclude=excluded)


def _gateway(name: str, network: Network, given: Sequence[Address]) -> Address:
    for address in given:
        if address.version == network.version:
            if address not in network or address in (network.network_address, network.broadcast_address):
                raise ValueError(f"subnet {name}: gateway {address} is not a host address of {network}")
            return address
    return network.network_address + 1


def _range(text: str) -> tuple[Address, Address]:
    first, _, last = text.partition("..")
    low, high = ip_address(first), ip_address(last or first)
    if low.version != high.version or int(low) > int(high):
        raise ValueError(f"{text!r} is not a range of addresses like 10.16.0.10..10.16.0.20")
    return low, high
