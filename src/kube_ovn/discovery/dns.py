"""The names of Services and their addresses, as the specification of Kubernetes' DNS has them. Pure.

Source: "Kubernetes DNS-Based Service Discovery", version 1.1.0; names of endpoints without a hostname follow CoreDNS.
Only endpoints that are ready have names. In slices of a Service with `publishNotReadyAddresses` all endpoints are
ready.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from kube_ovn.discovery import size
from kube_ovn.discovery.endpoints import endpoint_address, is_headless, is_ready, read_address
from kube_ovn.model.addr import Address, Network, is_within
from kube_ovn.model.kube import EndpointSlice, Service

DEFAULT_DOMAIN = "cluster.local"
_SERVER = 10
"""The number, in a Service CIDR, of the address that kubeadm and others give to the DNS server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The names of a Service, all in lower case and without the final dot."""

    addresses: Mapping[str, tuple[Address, ...]]
    """The addresses of each name (records A and AAAA), in order."""
    pointers: Mapping[Address, str]
    """The name of each address (records PTR)."""


def dns_addresses(networks: Iterable[Network]) -> tuple[Address, ...]:
    """The addresses of Service CIDRs at which kubelets tell Pods to look for a DNS server, unless set otherwise."""
    return tuple(network[_SERVER] for network in networks if network.num_addresses > _SERVER)


def service_name(service: Service, domain: str) -> str:
    """The name of a Service in DNS, in lower case and without the final dot."""
    return f"{service.metadata.name}.{service.metadata.namespace}.svc.{domain}".lower()


def service_names(
    service: Service, slices: Collection[EndpointSlice], domain: str, reserved: Collection[Network] = ()
) -> Names:
    """The names of a Service. Its own name leads to its own addresses; the name of a headless Service to the addresses
    of its endpoints, and each endpoint has a name too. An ExternalName is left to a DNS server, and so is a headless
    Service with too many endpoints. `reserved`: the networks of Services' own addresses; an endpoint gives no name to
    such an address.
    """
    if service.spec.type == "ExternalName":
        return Names(addresses={}, pointers={})
    own = service_name(service, domain)
    if not is_headless(service):
        listed = tuple(address for text in service.spec.cluster_ips if (address := read_address(text)) is not None)
        return Names(addresses={own: listed} if listed else {}, pointers=dict.fromkeys(listed, own))
    if size.names_refusal(service, slices):
        return Names(addresses={}, pointers={})
    found: dict[str, set[Address]] = {}
    pointers: dict[Address, str] = {}
    for item in sorted(slices, key=lambda item: item.metadata.name):
        for endpoint in item.endpoints or ():
            address = endpoint_address(item, endpoint)
            if address is not None and is_ready(endpoint):
                name = f"{endpoint.hostname or _dashed(address)}.{own}".lower()
                found.setdefault(own, set()).add(address)
                found.setdefault(name, set()).add(address)
                if not is_within(address, reserved):
                    pointers.setdefault(address, name)
    return Names(
        addresses={name: tuple(sorted(them, key=lambda a: (a.version, int(a)))) for name, them in found.items()},
        pointers=pointers,
    )


def _dashed(address: Address) -> str:
    text = str(address).replace(":", "-").replace(".", "-")
    return f"{text}0" if text.endswith("-") else text
