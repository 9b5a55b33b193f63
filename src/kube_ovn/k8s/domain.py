"""The domain of the cluster's names in DNS, as the cluster is configured.

The domain is a setting of every kubelet, which the API does not show; kubeadm keeps the configuration of the cluster in
a ConfigMap (kubeadm-config, ClusterConfiguration.networking.dnsDomain). For other clusters it is a flag of ours.
"""

import re

import msgspec
import structlog

from kube_ovn.discovery.dns import DEFAULT_DOMAIN
from kube_ovn.k8s.client import Client, KubeError
from kube_ovn.k8s.history import CONFIG_MAPS

log = structlog.get_logger()

NAMESPACE, NAME = "kube-system", "kubeadm-config"
_ABSENT = (403, 404)
_DOMAIN = re.compile(r"(?=.{1,100}$)[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*")


class _Networking(msgspec.Struct, rename={"dns_domain": "dnsDomain"}):
    dns_domain: str = ""


class _ClusterConfiguration(msgspec.Struct):
    networking: _Networking = msgspec.field(default_factory=_Networking)


def parse_domain(text: str) -> str:
    """Parse the name of a domain. Raises ValueError when the text is none."""
    domain = text.lower().removesuffix(".")
    if not _DOMAIN.fullmatch(domain):
        raise ValueError(f"{text[:60]!r} is no domain name, such as {DEFAULT_DOMAIN}")
    return domain


async def read_domain(client: Client) -> str:
    """The domain in kubeadm's ConfigMap, else Kubernetes' default. Raises KubeError."""
    try:
        found = await client.get(CONFIG_MAPS, NAMESPACE, NAME)
    except KubeError as error:
        if error.status not in _ABSENT:
            raise
        return DEFAULT_DOMAIN
    try:
        text = found.data.get("ClusterConfiguration", "{}")
        domain = msgspec.yaml.decode(text, type=_ClusterConfiguration).networking.dns_domain
        return parse_domain(domain) if domain else DEFAULT_DOMAIN
    except (msgspec.DecodeError, ValueError) as error:
        log.error("kubeadm's dnsDomain cannot be read", taken=DEFAULT_DOMAIN, error=str(error))
        return DEFAULT_DOMAIN
