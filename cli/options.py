"""Options and arguments that several commands share, and the checks on what was typed."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cli.problems import CliError, failure, from_client_error, usage
from client.errors import ClientError

if TYPE_CHECKING:
    from client.api import CrownestClient
    from client.archive import Archive
    from client.shapes import RunRequest

F = TypeVar("F", bound=Callable[..., Any])

TEMPLATES = ("python-node", "python", "node", "base")
"""Offered by completion only: the server decides which exist."""
IDEMPOTENCY_KEY_CHARS_MAX = 255

UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
_ID_REST = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,120}")
_SHA256 = re.compile(r"[0-9A-Fa-f]{64}")


class Id(click.ParamType[str]):
    """The id of one kind of thing. Ids of others are refused here, with a word on what was expected."""

    name = "id"

    def __init__(self, prefix: str, kind: str) -> None:
        self.prefix, self.kind = prefix, kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the form only."""
        prefix, _, rest = str(value).partition("_")
        if prefix != self.prefix or not _ID_REST.fullmatch(rest):
            self.fail(f"{value!r} is not {self.kind}; they look like {self.prefix}_abc123.", param, ctx)
        return str(value)


class ArchivePath(click.Path):
    """An existing gzipped tar file, judged by its name: what is in it the server judges."""

    name = "archive"

    def __init__(self) -> None:
        super().__init__(exists=True, dir_okay=True, readable=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse folders and other endings."""
        super().convert(value, param, ctx)
        path = Path(str(value))
        if path.is_dir():
            self.fail(
                f"{str(value)!r} is a folder, and crownest packs none. Make an archive first: "
                f"tar -czf {path.resolve().name}.tgz -C {value} .",
                param,
                ctx,
            )
        if not path.is_file():
            self.fail(f"{str(value)!r} is not a regular file.", param, ctx)
        if not path.name.endswith((".tgz", ".tar.gz")):
            self.fail(f"{str(value)!r} must end in .tgz or .tar.gz.", param, ctx)
        return path


class Sha256(click.ParamType[str]):
    """64 hex digits in either case."""

    name = "hex"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Normalise to lower case."""
        if not _SHA256.fullmatch(str(value)):
            self.fail(f"{value!r} is not a SHA-256: 64 hex digits.", param, ctx)
        return str(value).lower()


class WholeNumber(click.ParamType[int]):
    """An integer within bounds, written in digits."""

    name = "number"

    def __init__(self, least: int, most: int = 2**53 - 1) -> None:
        self.least, self.most = least, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Check form and bounds; without an upper one, what JSON carries safely counts."""
        text = str(value)
        if not (text.isascii() and text.isdigit() and self.least <= int(text[:32]) <= self.most):
            upper = f" and at most {self.most}" if self.most < 2**53 - 1 else ""
            self.fail(f"{text!r} is not a whole number of at least {self.least}{upper}.", param, ctx)
        return int(text)


class Duration(click.ParamType[int]):
    """A whole number of seconds, minutes, hours or days, such as 30m; in milliseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """A number needs its unit: a bare one could be any."""
        match = _DURATION.fullmatch(str(value))
        if match is None or not int(match[1]):
            self.fail(f"{str(value)!r} is no duration; they look like 90s, 30m, 2h or 7d.", param, ctx)
        return int(match[1]) * UNITS_MS[match[2]]


def duration_option(
    name: str, help_: str, help_ms: str, *, is_required: bool = False
) -> Callable[[Callable[..., Any]], Any]:
    """`--NAME 30m` and `--NAME-ms 1800000`, of which one is given: the command gets `NAME_ms`."""

    def decorate(command: Callable[..., Any]) -> Any:
        @wraps(command)
        def chosen(*args: Any, **values: Any) -> Any:
            told, told_ms = values.pop(name), values.pop(f"{name}_ms")
            if told is not None and told_ms is not None:
                raise usage(f"--{name} and --{name}-ms say the same: leave one out.")
            if is_required and told is None and told_ms is None:
                raise usage(f"Say how long, for example: --{name} 1h")
            return command(*args, **values, **{f"{name}_ms": told_ms if told is None else told})

        in_ms = click.option(f"--{name}-ms", metavar="MS", type=WholeNumber(1), help=help_ms)
        return click.option(f"--{name}", metavar="DURATION", type=Duration(), help=help_)(in_ms(chosen))

    return decorate


RUN_ID = click.argument("run_id", metavar="WORKSPACE-RUN-ID", type=Id("wsr", "a run id"))
ARCHIVE = click.argument("archive_path", metavar="ARCHIVE.TGZ", type=ArchivePath())
YES = click.option("--yes", is_flag=True, help="Do not ask.")
JSON = click.option("--json", "as_json", is_flag=True, help='Print { "data": … }; errors as { "error": … }.')


def agreed(question: str, *, yes: bool, as_json: bool) -> bool:
    """Ask before what cannot be undone. A program is not asked: it says `--yes`, or nothing is done."""
    if yes:
        return True
    if as_json or not sys.stdin.isatty():
        raise usage("Nobody can be asked here, and this cannot be undone: add --yes.")
    return click.confirm(question, err=True)


def parse_metadata(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """`key=value` pairs; the value may hold further `=`."""
    pairs: dict[str, str] = {}
    for value in values:
        key, equals, content = value.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{value!r} is not of the form key=value.", ctx, param)
        if key in pairs:
            raise click.BadParameter(f"{key!r} is given twice.", ctx, param)
        pairs[key] = content
    return pairs


def parse_artifacts(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> list[dict[str, str]]:
    """`PATH[=NAME]`: the name is what follows the last `=`, so a path that holds one ends in `=`."""
    wanted: list[dict[str, str]] = []
    for value in values:
        path, equals, name = value.rpartition("=")
        path, name = (path, name) if equals else (value, "")
        if not path:
            raise click.BadParameter(f"{value!r} has no path before the '='.", ctx, param)
        wanted.append({"path": path, "name": name} if name else {"path": path})
    return wanted


def _check_key(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is None or (
        value.isascii() and value.isprintable() and 0 < len(value) <= IDEMPOTENCY_KEY_CHARS_MAX
    ):
        return value
    raise click.BadParameter(f"1 to {IDEMPOTENCY_KEY_CHARS_MAX} printable ASCII characters.", ctx, param)


def idempotency_key_option(made: str, mark: str = "") -> Callable[[F], F]:
    """--idempotency-key, with what one key makes."""
    return click.option(
        "--idempotency-key",
        metavar="KEY",
        callback=_check_key,
        help=f"The same key and request make {made}, however often they are sent.{mark}",
    )


def _complete_template(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    del ctx, param
    return [slug for slug in TEMPLATES if slug.startswith(incomplete)]


TEMPLATE = click.option(
    "--template",
    metavar="SLUG",
    shell_complete=_complete_template,
    help="CrowNest template slug. python-node is the launch default.",
)
METADATA = click.option(
    "--metadata",
    metavar="KEY=VALUE",
    multiple=True,
    callback=parse_metadata,
    help="Metadata label as key=value. Repeatable.",
)
CREATE_OPTIONS = (
    click.option("--project", metavar="PRJ_ID", help="Project to create the run in."),
    TEMPLATE,
    click.option("--sandbox", metavar="SBX_ID", help="Warm sandbox to reuse."),
    click.option("--keep-sandbox", is_flag=True, help="Keep the sandbox after the run."),
    duration_option(
        "timeout", "Command timeout, such as 90s, 30m or 2h. (addition)", "Command timeout in milliseconds."
    ),
    METADATA,
    click.option(
        "--artifact",
        "artifacts",
        metavar="PATH[=NAME]",
        multiple=True,
        callback=parse_artifacts,
        help="File to keep when the command has ended, as a path in the workspace. Repeatable. (addition)",
    ),
    idempotency_key_option("one run", " (addition)"),
)


def create_options(command: F) -> F:
    """Add the options that describe a new run."""
    for option in reversed(CREATE_OPTIONS):
        command = option(command)
    return command


def run_request(command: str, options: dict[str, Any]) -> RunRequest:
    """The request that the options describe; empty texts count as not given."""
    from client.shapes import RunRequest

    return RunRequest(
        command=command,
        project_id=options["project"] or None,
        template=options["template"] or None,
        sandbox_id=options["sandbox"] or None,
        keep_sandbox=options["keep_sandbox"],
        timeout_ms=options["timeout_ms"],
        metadata=options["metadata"],
        artifacts=options["artifacts"],
    )


def measured(path: Path) -> Archive:
    """Read the archive for its size and digest."""
    from client.archive import measure

    archive = measure(path)
    if archive.size_bytes == 0:
        raise failure(f"{path} is empty.", "Make the archive again.", reason="empty_archive")
    return archive


@contextmanager
def session(
    run_id: str | None = None,
    *,
    remedies: Mapping[str, str] | None = None,
    api_url: str | None = None,
    as_person: bool = False,
) -> Generator[CrownestClient]:
    """A client for one command; what it raises is told with this run, or these remedies by code, in mind.

    `api_url` and `as_person` are what `cli.target.connect` takes.
    """
    from cli.target import connect

    try:
        with connect(api_url=api_url, as_person=as_person) as client:
            yield client
    except ClientError as exc:
        raise CliError(from_client_error(exc, run_id=run_id, remedies=remedies)) from exc
