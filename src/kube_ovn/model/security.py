"""SecurityGroups of this project (`kubeovn.io/v1`): only the fields that are read. Nouns only, as in `model.crd`."""

import msgspec

from kube_ovn.model.crd import Condition
from kube_ovn.model.kube import VersionedMeta


class SecurityGroupRule(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """One rule. The remote end is an address or a CIDR, or the Pods of a group; the local end is the Pod's own."""

    ip_version: str = ""
    protocol: str = ""
    priority: int = 0
    policy: str = ""
    remote_type: str = ""
    remote_address: str = ""
    remote_security_group: str = ""
    port_range_min: int = 0
    port_range_max: int = 0
    local_address: str = ""
    source_port_range_min: int = 0
    source_port_range_max: int = 0


class SecurityGroupSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    tier: int = 0
    allow_same_group_traffic: bool = False
    ingress_rules: tuple[SecurityGroupRule, ...] = ()
    egress_rules: tuple[SecurityGroupRule, ...] = ()


class SecurityGroupStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    conditions: tuple[Condition, ...] = ()
    port_group: str = ""
    allow_same_group_traffic: bool = False
    ingress_md5: str = ""
    egress_md5: str = ""
    ingress_last_sync_success: bool = False
    egress_last_sync_success: bool = False


class SecurityGroup(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    metadata: VersionedMeta
    spec: SecurityGroupSpec = SecurityGroupSpec()
    status: SecurityGroupStatus = SecurityGroupStatus()
