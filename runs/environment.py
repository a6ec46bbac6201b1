"""Names of environment variables that a caller may set for a command, by itself or as a secret."""

from __future__ import annotations

import re

from runs.refusal import Refusal

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
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
"""What decides how the sandbox or an interpreter starts is the template's."""


def check_env_name(name: str, field: str = "env") -> None:
    """`invalid_request` for what is no name, `reserved_env_key` for one that is not the caller's to set."""
    if not _NAME.fullmatch(name):
        raise Refusal(
            "invalid_request",
            f"{name[:80]!r} is no name of an environment variable: letters, digits and _, at most 128.",
            {"field": field},
        )
    if _RESERVED.fullmatch(name):
        raise Refusal(
            "reserved_env_key",
            f"{name} decides how commands are run and is the sandbox's own. Use another name.",
            {"field": name},
        )
