"""Which names a project's secrets may have in a command's environment, and which they have."""

from __future__ import annotations

import re

from eventstore.views import ViewQuery
from runs.dispatch import Store
from runs.refusal import Refusal

ACTIVE = "active"
LISTED_MAX = 500
"""More than any project has (`RunLimits.secrets_max`)."""

_SHAPE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)

_RESERVED = re.compile(
    r"""
    PATH | HOME | TMPDIR | LANG | LC_ALL | USER | LOGNAME | SHELL | PWD | OLDPWD  # what the sandbox sets
    | IFS | ENV | BASH_ENV | BASHOPTS | SHELLOPTS | PS4 | CDPATH | GLOBIGNORE | POSIXLY_CORRECT | BASH_FUNC_.*
    | LD_.* | GLIBC_.* | MALLOC_.* | GCONV_PATH | LOCPATH | NLSPATH               # what a loader reads
    | PYTHON[A-Z]+ | NODE_OPTIONS | NODE_PATH | NODE_EXTRA_CA_CERTS               # what an interpreter reads
    | PERL5?LIB | PERL5OPT | PERL5DB | RUBYLIB | RUBYOPT
    | JAVA_TOOL_OPTIONS | _JAVA_OPTIONS | JDK_JAVA_OPTIONS
    | CROWNEST_.*
    """,
    re.VERBOSE | re.ASCII,
)


def check_secret_name(name: str) -> None:
    """Refuse a name that is none (`invalid_request`) or that means something already (`reserved_env_key`)."""
    if not _SHAPE.fullmatch(name):
        raise Refusal(
            "invalid_request",
            "The name of a secret is 1 to 128 letters, digits and underscores, and begins with no digit.",
            {"field": "name"},
        )
    if _RESERVED.fullmatch(name):
        raise Refusal(
            "reserved_env_key",
            f"{name} changes how commands are run and cannot be a secret. Choose another name.",
            {"field": "name"},
        )


async def secret_names(store: Store, org_id: str, project_id: str) -> list[str]:
    """The names of the project's secrets, sorted."""
    query = ViewQuery(org_id, project_ids=[project_id], statuses=[ACTIVE], limit=LISTED_MAX)
    return sorted(row.id.partition("/")[2] for row in await store.list_view("secrets", query))
