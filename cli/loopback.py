"""Says whether an address is this machine: no proxy stands between then, and http is no risk."""

from __future__ import annotations


def is_loopback(api_url: str) -> bool:
    """Whether the host is `localhost` or a loopback address; names are not looked up."""
    import ipaddress
    from urllib.parse import urlsplit

    try:
        host = urlsplit(api_url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
