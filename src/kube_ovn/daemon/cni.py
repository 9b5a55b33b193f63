"""The CNI protocol: requests as the plugin forwards them, results and errors in the form that the runtime reads. Pure.

Names of sections are those of the CNI specification 1.1.0. Requests are carried out by `pods`.
"""

import re
from dataclasses import dataclass
from enum import IntEnum

import msgspec

from kube_ovn.discovery.endpoints import read_address
from kube_ovn.discovery.external import Spot
from kube_ovn.model.host import PodNetwork, Sandbox

# The configuration that `conflist` writes says 0.3.1, which users of the contract expect. CHECK, STATUS and GC come
# where an administrator has put a configuration of a later version in its place.
VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
COMMANDS = ("ADD", "DEL", "CHECK", "STATUS", "GC")


class Code(IntEnum):
    """Error codes: below 100 those of the specification ("Error"), from 100 on those of kube-ovn."""

    INCOMPATIBLE_VERSION = 1
    INVALID_ENVIRONMENT = 4
    DECODING_FAILURE = 6
    INVALID_CONFIG = 7
    TRY_AGAIN_LATER = 11
    NOT_AVAILABLE = 50
    NETWORK_NAMESPACE = 100
    """The network namespace of the Pod cannot be entered, or its links cannot be made."""
    SWITCH = 101
    """Open vSwitch did not take the port."""
    DIFFERENT = 102
    """CHECK: the interface is not as the result of ADD says."""
    INTERNAL = 103
    """A fault of the daemon. The daemon's log says more."""


class CniError(Exception):
    """An error for the runtime instead of a result: one sentence, with the name of the Pod where there is one."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Envelope(msgspec.Struct, frozen=True):
    env: dict[str, str]
    stdin: str


class _Attachment(msgspec.Struct, frozen=True):
    container_id: str = msgspec.field(name="containerID")
    ifname: str


class _Interface(msgspec.Struct, frozen=True):
    name: str
    mac: str = ""
    sandbox: str = ""


class _Ip(msgspec.Struct, frozen=True):
    address: str
    interface: int | None = None


class _Result(msgspec.Struct, frozen=True):
    interfaces: tuple[_Interface, ...] = ()
    ips: tuple[_Ip, ...] = ()


class _RuntimeConfig(msgspec.Struct, frozen=True, rename="camel"):
    port_mappings: tuple[dict[str, int | str], ...] = ()
    """The ports of the node that portmap leads to the Pod (CNI conventions, "portMappings")."""


class NetConf(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The network configuration: the keys that are read here."""

    cni_version: str = "0.1.0"
    name: str = ""
    prev_result: _Result | None = None
    valid_attachments: tuple[_Attachment, ...] | None = msgspec.field(default=None, name="cni.dev/valid-attachments")
    runtime_config: _RuntimeConfig = _RuntimeConfig()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    command: str
    conf: NetConf
    sandbox: Sandbox | None
    """The attachment that the request is for; None for STATUS and GC."""


def parse_request(body: bytes) -> Request:
    """Parse a request as the plugin sends it: JSON with the environment and the standard input of the plugin. Raises
    CniError with the code that the specification has for each fault.
    """
    try:
        envelope = msgspec.json.decode(body, type=_Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CniError(Code.DECODING_FAILURE, f"the request is not one of the kube-ovn plugin: {error}") from None
    try:
        conf = msgspec.json.decode(envelope.stdin, type=NetConf)
    except msgspec.ValidationError as error:
        raise CniError(Code.INVALID_CONFIG, f"the network configuration is wrong: {error}") from None
    except msgspec.DecodeError as error:
        raise CniError(Code.DECODING_FAILURE, f"the network configuration is not JSON: {error}") from None
    if conf.cni_version not in VERSIONS:
        raise CniError(
            Code.INCOMPATIBLE_VERSION, f"CNI version {conf.cni_version!r} is not one of {', '.join(VERSIONS)}"
        )
    command = envelope.env.get("CNI_COMMAND", "")
    if command not in COMMANDS:
        raise CniError(
            Code.INVALID_ENVIRONMENT, f"CNI_COMMAND {command[:64]!r} is not one of {', '.join(COMMANDS)} or VERSION"
        )
    sandbox = _parse_sandbox(command, envelope.env) if command in ("ADD", "DEL", "CHECK") else None
    return Request(command=command, conf=conf, sandbox=sandbox)


def _parse_sandbox(command: str, env: dict[str, str]) -> Sandbox:
    args = parse_args(env.get("CNI_ARGS", ""))
    strict = command != "DEL"  # DEL must remove what any request left behind, and needs the first two only
    return Sandbox(
        container=_checked("CNI_CONTAINERID", env, _CONTAINER),
        interface=_checked("CNI_IFNAME", env, _INTERFACE),
        netns=_checked("CNI_NETNS", env, _PATH) if strict or env.get("CNI_NETNS") else "",
        namespace=_checked("K8S_POD_NAMESPACE", args, _DNS_NAME) if strict else args.get("K8S_POD_NAMESPACE", ""),
        pod=_checked("K8S_POD_NAME", args, _DNS_NAME) if strict else args.get("K8S_POD_NAME", ""),
        uid=args.get("K8S_POD_UID", ""),
    )


def parse_args(text: str) -> dict[str, str]:
    """Parse CNI_ARGS: `KEY=value;KEY=value`."""
    return {key: value for key, _, value in (pair.partition("=") for pair in text.split(";"))}


_CONTAINER = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]{0,255}")
_INTERFACE = re.compile(r"(?!\.{1,2}$)[^\s/:%]{1,15}")  # as dev_valid_name() of Linux
_PATH = re.compile(r"(?!.*/\.\.(/|$))/[^\0]{1,1023}")  # absolute, without `..`
_DNS_NAME = re.compile(r"[a-z0-9]([a-z0-9.\-]{0,251}[a-z0-9])?")


def _checked(name: str, values: dict[str, str], pattern: re.Pattern[str]) -> str:
    value = values.get(name, "")
    if not value:
        raise CniError(Code.INVALID_ENVIRONMENT, f"{name} is missing from the CNI request")
    if not pattern.fullmatch(value):
        raise CniError(Code.INVALID_ENVIRONMENT, f"{name} {value[:64]!r} is not valid")
    if pattern is _INTERFACE and len(value.encode()) > 15:
        raise CniError(Code.INVALID_ENVIRONMENT, f"{name} {value!r} has more than 15 bytes")
    return value


def parse_previous(conf: NetConf, sandbox: Sandbox) -> tuple[str, frozenset[str]]:
    """The MAC address and the addresses with prefix lengths that ADD gave a sandbox, from `prevResult`, in which the
    runtime repeats them for CHECK. Raises CniError.
    """
    if conf.prev_result is None:
        raise CniError(Code.INVALID_CONFIG, f"prevResult is missing from the CHECK of Pod {sandbox.label}")
    for index, interface in enumerate(conf.prev_result.interfaces):
        if interface.sandbox and interface.name == sandbox.interface:
            ips = (ip.address for ip in conf.prev_result.ips if ip.interface in (index, None))
            return interface.mac.lower(), frozenset(ips)
    raise CniError(Code.INVALID_CONFIG, f"prevResult has no interface {sandbox.interface} of Pod {sandbox.label}")


def host_ports(conf: NetConf) -> tuple[Spot, ...]:
    """The ports of the node that a Pod asks for; the unspecified address stands for all addresses. Raises CniError."""
    found = []
    for each in conf.runtime_config.port_mappings:
        mapping = {key.lower(): value for key, value in each.items()}  # containerd writes `HostPort`, others `hostPort`
        address = read_address(str(mapping.get("hostip") or "0.0.0.0"))
        port, protocol = mapping.get("hostport"), str(mapping.get("protocol", "tcp")).upper()
        # portmap writes the texts into the input of nft as they are.
        if address is None or not isinstance(port, int) or not 0 <= port <= 65535 or not protocol.isalpha():
            raise CniError(Code.INVALID_CONFIG, f"portMappings: {str(each)[:128]} is no port of a node")
        found.append(Spot(address, port, protocol))
    return tuple(found)


def format_error(version: str, error: CniError) -> bytes:
    """The error as JSON ("Error")."""
    return msgspec.json.encode({"cniVersion": version, "code": int(error.code), "msg": str(error)})


def format_result(version: str, sandbox: Sandbox, network: PodNetwork, mtu: int) -> bytes:
    """The result of ADD as JSON, in the form of the version of the request ("ADD Success"). `mtu`: bytes."""
    if version in ("0.1.0", "0.2.0"):
        return msgspec.json.encode({"cniVersion": version, **_families(network)})
    size = {"mtu": mtu} if version == "1.1.0" else {}
    interfaces = [
        {"name": sandbox.link, "sandbox": "", **size},
        {"name": sandbox.interface, "mac": network.mac, "sandbox": sandbox.netns, **size},
    ]
    ips = []
    for interface, gateway in zip(network.interfaces, network.gateways, strict=True):
        family = {"version": str(interface.address.version)} if version < "1.0.0" else {}
        ips.append({**family, "interface": 1, "address": str(interface), "gateway": str(gateway)})
    return msgspec.json.encode(
        {"cniVersion": version, "interfaces": interfaces, "ips": ips, "routes": _routes(network), "dns": {}}
    )


def _families(network: PodNetwork) -> dict[str, object]:
    return {
        f"ip{interface.address.version}": {
            "ip": str(interface),
            "gateway": str(gateway),
            "routes": _routes(network, interface.address.version),
        }
        for interface, gateway in zip(network.interfaces, network.gateways, strict=True)
    }


def _routes(network: PodNetwork, family: int | None = None) -> list[dict[str, str]]:
    return [
        {"dst": str(route.to), "gw": str(route.via)} for route in network.routes if family in (None, route.to.version)
    ]
