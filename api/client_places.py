"""Places by client address: how many connections one address may hold, also behind a proxy of the operator's.

Addresses are found as uvicorn finds them for the API: what a trusted proxy says in `X-Forwarded-For` counts,
and nobody else's word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

TRUSTED_DEFAULT = "127.0.0.1,::1"
"""Uvicorn's own default, for its variable FORWARDED_ALLOW_IPS."""
EVERYBODY = "*"
SHOWN_CHARS_MAX = 64
IPV6_PREFIX = 64
"""Who has one address of such a network has all of them."""


class ClientPlaces:
    """So many places for each address, `trusted` proxies excepted: through those many clients come."""

    def __init__(self, places: int, trusted: str) -> None:
        """`trusted`: addresses and networks with commas between them, or `*`."""
        names = [name.strip() for name in trusted.split(",") if name.strip()]
        self._places = places
        self._trusts_all = EVERYBODY in names
        self._trusted = [ip_network(name, strict=False) for name in names if _is_network(name)]
        self._taken: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"ClientPlaces({self._places}, taken={dict(self._taken)})"

    def trusts(self, address: str) -> bool:
        """Whether a proxy of the operator's asks from there."""
        parsed = _parsed(address)
        return self._trusts_all or (parsed is not None and any(parsed in net for net in self._trusted))

    def behind(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """Whom a trusted proxy asks for: the last address that is no proxy's. None where nobody says so."""
        if not self.trusts(peer):
            return None
        said = b",".join(value for name, value in headers if name.lower() == b"x-forwarded-for")
        entries = [entry.strip() for entry in said.decode("latin-1").split(",") if entry.strip()]
        if self._trusts_all:
            return entries[0] if entries else None
        return next((entry for entry in reversed(entries) if not self.trusts(entry)), None)

    def take(self, address: str) -> str | None:
        """A place, to be given back by the name that is returned; None when the address has all of its."""
        name = _name(address)
        if self._taken[name] >= self._places:
            return None
        self._taken[name] += 1
        return name

    def give_back(self, name: str) -> None:
        """The connection of this place is over."""
        self._taken[name] -= 1
        if not self._taken[name]:
            del self._taken[name]


def _is_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped if isinstance(found, IPv6Address) else None) or found


def _name(address: str) -> str:
    found = _parsed(address)
    if isinstance(found, IPv6Address):
        return str(IPv6Network((found, IPV6_PREFIX), strict=False))
    return str(found) if found is not None else address[:SHOWN_CHARS_MAX]
