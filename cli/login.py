"""The command login: stores an API address and key."""

from __future__ import annotations

import os
import sys
from urllib.parse import urlsplit

import click

from cli import config_file, output
from cli.lazy import ExampleCommand
from cli.loopback import is_loopback
from cli.problems import usage
from cli.target import CREDENTIAL_VARIABLES, URL_VARIABLE

KEY_CHARS_MAX = 4096


@click.command(
    cls=ExampleCommand,
    examples=(
        "crownest login --api-url http://127.0.0.1:8787 --api-key cn_live_…",
        "crownest login --api-url https://crownest.example.org < key.txt",
    ),
)
@click.option("--api-url", metavar="URL", required=True, help="The base address, like http://127.0.0.1:8787.")
@click.option(
    "--api-key", metavar="KEY", help="The key. Without this option it is asked for, or read from stdin."
)
def login(api_url: str, api_key: str | None) -> None:
    """Store an API address and key for the other commands.

    Asks no server. The file is readable by you alone (mode 0600). CROWNEST_API_URL,
    CROWNEST_BEARER_TOKEN and CROWNEST_API_KEY win over it.
    """
    url, key = _checked_url(api_url), _checked_key(api_key if api_key is not None else _ask_key())
    file = config_file.write(api_url=url, api_key=key)
    output.note(f"stored in {file}")
    if url.startswith("http:") and not is_loopback(url):
        output.warn("the address has no TLS: the key and all archives travel in the clear. Use https.")
    for name in (URL_VARIABLE, *CREDENTIAL_VARIABLES):
        if os.environ.get(name):
            output.warn(f"{name} is set and wins over the file; unset it to use what you stored.")
    output.hint("next: crownest workspace-runs list")


def _ask_key() -> str:
    if output.is_terminal(sys.stdin):
        return str(click.prompt("API key", hide_input=True, err=True))
    return sys.stdin.readline(KEY_CHARS_MAX + 1)


def _checked_url(api_url: str) -> str:
    url = api_url.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        sound = False
    else:
        sound = sound and not (parts.query or parts.fragment or parts.username)
    if not sound:
        raise usage(f"{api_url!r} is no API address.", "Write it like http://127.0.0.1:8787 or https://host.")
    return url


def _checked_key(api_key: str) -> str:
    key = api_key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key or len(key) > KEY_CHARS_MAX:
        raise usage("That is no API key: it is empty or holds spaces or odd characters.", "Copy it again.")
    return key
