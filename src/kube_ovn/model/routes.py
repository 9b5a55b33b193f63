"""The routes that a user wishes for a Pod, as its annotation has them. Pure."""

from ipaddress import ip_network

import msgspec

from kube_ovn.model import names
from kube_ovn.model.addr import Address, Network, parse_address
from kube_ovn.model.host import Route

MOST_ROUTES = 256
"""Routes of one annotation: the kernel is told each of them when the Pod is connected."""
EXAMPLE = '[{"dst":"10.0.0.0/8","gw":"10.16.0.9"}]'


class _UserRoute(msgspec.Struct, frozen=True):
    dst: str = ""
    gw: str = ""


def parse_routes(text: str) -> tuple[Route, ...]:
    """Parse a JSON list of routes; one without `dst` is the default route of the IP family of its gateway.

    Raises ValueError with a sentence that begins with the annotation.
    """
    if not text.strip():
        return ()
    try:
        wanted = msgspec.json.decode(text, type=list[_UserRoute])
    except (msgspec.DecodeError, RecursionError):  # the latter for too deep a nesting
        raise ValueError(f"{names.ROUTES} is not a list of routes like {EXAMPLE}") from None
    if len(wanted) > MOST_ROUTES:
        raise ValueError(f"{names.ROUTES} has {len(wanted)} routes; {MOST_ROUTES} are the most")
    return tuple(_route(each) for each in wanted)


def default_route(via: Address) -> Network:
    """The network of the default route of a gateway's IP family."""
    return ip_network("0.0.0.0/0" if via.version == 4 else "::/0")


def _route(each: _UserRoute) -> Route:
    if not each.gw:
        raise ValueError(f"{names.ROUTES}: the route to {each.dst or 'everywhere'} has no gateway; add gw")
    try:
        via = parse_address(each.gw)
    except ValueError as error:
        raise ValueError(f"{names.ROUTES}: gw {error}") from None
    try:
        to = ip_network(each.dst, strict=False) if each.dst else default_route(via)
    except ValueError:
        raise ValueError(f"{names.ROUTES}: dst {each.dst!r} is not a CIDR like 10.0.0.0/8") from None
    if to.version != via.version:
        raise ValueError(f"{names.ROUTES}: dst {each.dst} and gw {each.gw} are of different IP families")
    return Route(to=to, via=via)
