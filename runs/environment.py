"""Names of environment variables that a caller may set for a command."""

from __future__ import annotations

import re

from runs.refusal import Refusal

ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
RESERVED = frozenset({
    "PATH", "HOME", "TMPDIR", "LANG", "USER", "LOGNAME", "SHELL", "PWD", "OLDPWD", "IFS", "ENV", "BASH_ENV",
    "NODE_OPTIONS", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONPATH", "PYTHONINSPECT",
})  # fmt: skip
RESERVED_PREFIXES = ("CROWNEST_", "LD_", "BASH_FUNC_")
"""What decides how the sandbox or an interpreter starts is the template's."""


def check_env_name(name: str) -> None:
    """`invalid_request` for what is no name, `reserved_env_key` for one that is not the caller's to set."""
    if not ENV_NAME.fullmatch(name):
        raise Refusal(
            "invalid_request",
            f"{name[:80]!r} is no name of an environment variable: letters, digits and _, at most 128.",
            {"field": "env"},
        )
    if name in RESERVED or name.startswith(RESERVED_PREFIXES):
        raise Refusal(
            "reserved_env_key", f"{name} belongs to the sandbox. Use another name.", {"field": name}
        )
