"""The entry point of `crownest`: names every command, and turns every ending into an exit status."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from cli import output
from cli.lazy import Lazy, LazyGroup
from cli.problems import (
    EXIT_BROKEN_PIPE,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_USAGE,
    CliError,
    Problem,
    from_client_error,
)
from client.errors import ClientError
from client.version import VERSION

RUNS, PROOF, ACCOUNTS, SERVER, SETUP = "Run", "Prove", "Administer", "Serve", "Set up"

COMMANDS = {
    "demo": Lazy("cli.demo:demo", "Run the example project and check its evidence offline.", RUNS),
    "workspace-runs": Lazy(
        "cli.workspace_runs:workspace_runs", "Run archives and read their evidence.", RUNS
    ),
    "record": Lazy("cli.record:record", "Run a command right here and record what it prints.", RUNS),
    "usage": Lazy("cli.usage:usage", "Show what was used this month, and what is left.", RUNS),
    "sandboxes": Lazy("cli.sandboxes:sandboxes", "Create, use and kill warm sandboxes.", RUNS),
    "commands": Lazy("cli.commands:commands", "Read and cancel commands in sandboxes.", RUNS),
    "files": Lazy(
        "cli.sandbox_files:files", "List, read, copy and change files in a sandbox's workspace.", RUNS
    ),
    "artifacts": Lazy("cli.artifacts:artifacts", "Keep, list, download and delete artifacts.", RUNS),
    "secrets": Lazy(
        "cli.project_secrets:secrets",
        "Keep values that the commands of a project find in their environment.",
        RUNS,
    ),
    "verify": Lazy("cli.verify:verify", "Check a proof offline, trusting only a policy file.", PROOF),
    "policy": Lazy("cli.policy:policy", "Print whose signatures the server's proofs carry.", PROOF),
    "timestamp": Lazy(
        "cli.timestamp:timestamp", "Have a time-stamping authority say when a proof was there.", PROOF
    ),
    "monitor": Lazy(
        "cli.monitor:monitor", "Follow a server's log, and report what an honest one does not show.", PROOF
    ),
    "redact": Lazy("cli.redact:redact", "Erase output of a run for good, and record it.", PROOF),
    "signing-keys": Lazy("cli.signing_keys:signing_keys", "List or rotate the log's signing keys.", PROOF),
    "previews": Lazy("cli.previews:previews", "Open a port of a kept sandbox to a browser.", RUNS),
    "smoke": Lazy("cli.smoke:smoke", "Prove a server's promises by using it.", PROOF),
    "keys": Lazy("cli.api_keys:keys", "Create, list and revoke API keys.", ACCOUNTS),
    "projects": Lazy("cli.projects:projects", "List, create and limit projects.", ACCOUNTS),
    "orgs": Lazy("cli.orgs:orgs", "Read and change organisations and their people.", ACCOUNTS),
    "serve": Lazy("cli.serve:serve", "Run the server on an embedded database.", SERVER),
    "dashboard": Lazy("cli.dashboard:dashboard", "Print a link that signs a browser in, once.", SERVER),
    "config": Lazy("cli.config:config", "Print every setting and named limit of a server.", SERVER),
    "rebuild": Lazy("cli.rebuild:rebuild", "Fold all views anew from the log.", SERVER),
    "compact": Lazy("cli.compact:compact", "Pack sealed runs and shrink the database.", SERVER),
    "migrate": Lazy("cli.rebuild:migrate", "Bring a data folder to this version's schema.", SERVER),
    "login": Lazy("cli.login:login", "Store an API address and key for the other commands.", SETUP),
    "completion": Lazy("cli.completion:completion", "Print shell completion for bash, zsh or fish.", SETUP),
}

EXAMPLES = (
    "crownest demo",
    "crownest serve",
    "crownest workspace-runs run-archive repo.tgz -- python3 -m unittest",
    "crownest policy > trust.policy",
    "crownest verify proof.zip --policy trust.policy",
)

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(
    cls=LazyGroup, lazy=COMMANDS, examples=EXAMPLES, context_settings=CONTEXT, subcommand_metavar="COMMAND …"
)
@click.version_option(VERSION, "-V", "--version", prog_name="crownest", message="%(prog)s %(version)s")
def root() -> None:
    """Run an archive in a sandbox and keep proof of what happened.

    CrowNest runs a command over an uploaded archive, streams its output, and keeps durable evidence
    that anyone can check without trusting the server.
    """


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with its status (CONTRACT §7.3)."""
    args = list(sys.argv[1:] if argv is None else argv)
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        # A locale that cannot show a character shows its number; no command fails for that.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if os.environ.get("_CROWNEST_COMPLETE"):
        root.main(args, prog_name="crownest")
    status = run(args)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        status = EXIT_BROKEN_PIPE
    if status == EXIT_BROKEN_PIPE:
        _forget_stdout()
    sys.exit(status)


def run(args: Sequence[str]) -> int:
    """Run one command; answers the exit status. Raises only with CROWNEST_DEBUG, for mistakes of ours."""
    try:
        with root.make_context("crownest", list(args)) as ctx:
            status: object = root.invoke(ctx)
            return status if isinstance(status, int) else EXIT_OK
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except BrokenPipeError:
        return EXIT_BROKEN_PIPE
    except click.exceptions.NoArgsIsHelpError as exc:
        output.note(exc.format_message())
        return EXIT_USAGE
    except (KeyboardInterrupt, Exception) as exc:
        problem = _problem(exc)
        if problem is None:
            if os.environ.get("CROWNEST_DEBUG"):
                raise
            problem = _bug(exc)
        output.error(problem, as_json=_wants_json(args))
        return problem.exit_code


def _problem(error: BaseException) -> Problem | None:
    """What to tell about a failure; None for one that nobody expected."""
    problem: Problem | None = None
    match error:
        case CliError():
            problem = error.problem
        case click.Abort() | KeyboardInterrupt():
            problem = Problem("interrupted", "Interrupted.", exit_code=EXIT_INTERRUPTED)
        case click.ClickException():
            problem = _usage_problem(error)
        case ClientError():
            problem = from_client_error(error)
        case OSError():
            problem = _file_problem(error)
        case _:
            pass
    return problem


def _wants_json(args: Sequence[str]) -> bool:
    """Whether errors are wanted as JSON, also when the arguments could not be parsed."""
    own = args[: args.index("--")] if "--" in args else args
    return "--json" in own


def _usage_problem(error: click.ClickException) -> Problem:
    unknown = isinstance(error, click.NoSuchCommand)
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    remedy = f"{ctx.command_path} --help" if ctx else None
    code = "unknown_command" if unknown else "usage_error"
    return Problem(code, error.format_message(), remedy, exit_code=error.exit_code)


def _file_problem(error: OSError) -> Problem:
    name = f"{error.filename}: " if error.filename else ""
    return Problem("runtime_error", f"{name}{error.strerror or error}", details={"reason": "file_error"})


def _bug(error: BaseException) -> Problem:
    return Problem(
        "runtime_error",
        f"A mistake in crownest itself: {type(error).__name__}: {error}",
        "Run it again with CROWNEST_DEBUG=1 to see where, and report it.",
        details={"reason": "internal_error"},
    )


def _open_closed_streams() -> None:
    """What the caller closed (`2>&-`) leads nowhere: no command fails because nobody wants its words.

    A file that is opened takes the lowest free number, which is the closed one's; else a connection would
    have it, and get what a library or a child prints.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 # for good


def _forget_stdout() -> None:
    """The reader is gone: keep the interpreter from complaining about it while it exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())


if __name__ == "__main__":
    main()
