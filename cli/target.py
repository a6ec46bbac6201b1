"""Decides which server a command talks to and with which credential (CONTRACT §9), and says why."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cli import config_file, output
from cli.loopback import is_loopback
from cli.problems import LOGIN_LINE, CliError, Problem

if TYPE_CHECKING:
    from client.api import CrownestClient

DEFAULT_API_URL = "https://api.crownest.dev"
CREDENTIAL_VARIABLES = ("CROWNEST_BEARER_TOKEN", "CROWNEST_API_KEY")
URL_VARIABLE = "CROWNEST_API_URL"
PERSON_VARIABLES = ("CROWNEST_ORG_ID", "CROWNEST_USER_ID", "CROWNEST_ROLE")
LOCAL_API_URL = "http://127.0.0.1:8787"
"""Where a server is looked for that listens to persons; the config file is not read for it (CONTRACT §9)."""


@dataclass(frozen=True, slots=True)
class Target:
    """A server and a credential, each with where it was found."""

    api_url: str
    api_url_from: str
    credential: str | None
    credential_from: str

    def __repr__(self) -> str:
        return f"Target({self.api_url!r} from {self.api_url_from}, credential from {self.credential_from})"


def find(env: Mapping[str, str] | None = None) -> Target:
    """Environment before config file before default. An empty variable counts as unset."""
    env = os.environ if env is None else env
    variable = next((name for name in CREDENTIAL_VARIABLES if env.get(name)), None)
    url = env.get(URL_VARIABLE)
    # With both in the environment the file is not even read: containers often have no home.
    config = config_file.Config() if url and variable else config_file.read(env)
    if url:
        api_url, url_from = url, URL_VARIABLE
    elif config.api_url:
        api_url, url_from = config.api_url, str(config_file.path(env))
    else:
        api_url, url_from = DEFAULT_API_URL, "the default"
    if variable:
        return Target(api_url, url_from, env[variable], variable)
    found = str(config_file.path(env)) if config.credential else "nowhere"
    return Target(api_url, url_from, config.credential, found)


def connect(
    *, anonymous: bool = False, api_url: str | None = None, as_person: bool = False
) -> CrownestClient:
    """A client for the target; without a credential it says what to type (unless `anonymous`).

    `api_url` wins over what is configured. With `as_person` the person that the environment names asks,
    where it names one and no key.
    """
    if as_person and (person := _person(os.environ)):
        from client.api import CrownestClient
        from client.transport import Person

        url = api_url or os.environ.get(URL_VARIABLE) or LOCAL_API_URL
        return CrownestClient(url, None, person=Person(*person), trust_env=not is_loopback(url))
    target = find()
    url = api_url or target.api_url
    if target.credential is None and not anonymous:
        raise CliError(
            Problem(
                "missing_credential",
                f"There is no API key for {url}.{_half_named(os.environ) if as_person else ''}",
                f"Start a server of your own, which stores one: crownest serve; or type: {LOGIN_LINE}",
            )
        )
    from client.api import CrownestClient

    return CrownestClient(
        url, None if anonymous else target.credential, trust_env=not is_loopback(url), wait=_wait
    )


def _wait(seconds: float) -> None:
    """Over the rate limit: tell a person why nothing happens, then wait."""
    if output.is_terminal(sys.stderr):
        output.note(f"the server limits requests per minute: going on in {seconds:.0f} s")
    time.sleep(seconds)


def names_person(env: Mapping[str, str]) -> bool:
    """Whether a person asks, and no key."""
    return _person(env) is not None


def _person(env: Mapping[str, str]) -> tuple[str, str, str] | None:
    """Organisation, user and role; None where one of them is not named, or a key is in the environment."""
    org_id, user_id, role = (env.get(name, "") for name in PERSON_VARIABLES)
    has_key = any(env.get(name) for name in CREDENTIAL_VARIABLES)
    return (org_id, user_id, role) if org_id and user_id and role and not has_key else None


def _half_named(env: Mapping[str, str]) -> str:
    missing = [name for name in PERSON_VARIABLES if not env.get(name)]
    return f" {' and '.join(missing)} must be set as well." if len(missing) < len(PERSON_VARIABLES) else ""
