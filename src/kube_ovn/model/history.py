"""What was granted and given back: the noun of the durable history that `kubectl ko ipam explain` reads."""

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One grant that is over. Times are RFC 3339 texts in UTC."""

    addresses: str
    """As in `IP.spec.ipAddress`: `v4`, `v6` or `v4,v6`."""
    mac: str
    subnet: str
    holder: str
    """Such as `Pod default/web-0` or `node node1`."""
    uid: str
    since: str
    until: str
