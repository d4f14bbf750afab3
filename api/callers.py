"""Who asks, as far as counts go: an address stands for one caller, of IPv6 its network. Pure."""

import ipaddress
from typing import Final

V6_PREFIX: Final = 64  # one customer has at least so many addresses (RFC 6177): a limit on one would be none

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def address_of(host: str) -> Address | None:
    """Return a peer's address, None for what is none (a Unix socket, a test); IPv4 within IPv6 is IPv4."""
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped if mapped is not None else found


def caller_key(host: str) -> str:
    """Return what a peer is counted by."""
    found = address_of(host)
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((found, V6_PREFIX), strict=False))
    return host if found is None else str(found)
