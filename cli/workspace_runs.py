"""The group `crownest workspace-runs`: names its commands."""

from __future__ import annotations

import click

from cli.lazy import Lazy, LazyGroup

ONE, STEPS, READ = "In one step", "Step by step", "Read and stop"

COMMANDS = {
    "run-archive": Lazy(
        "cli.run_archive:run_archive", "Upload an archive, run a command in it, stream it.", ONE
    ),
    "create": Lazy("cli.run_steps:create", "Create a Workspace Run record.", STEPS),
    "upload": Lazy("cli.run_steps:upload", "Upload an existing archive to a run.", STEPS),
    "start": Lazy("cli.run_steps:start", "Start extraction and command execution.", STEPS),
    "logs": Lazy("cli.run_logs:logs", "Stream Workspace Run events.", READ),
    "status": Lazy("cli.run_steps:status", "Retrieve current run status.", READ),
    "list": Lazy("cli.run_list:list_runs", "List Workspace Runs, newest first.", READ),
    "cancel": Lazy("cli.run_steps:cancel", "Cancel an active run.", READ),
    "evidence": Lazy("cli.run_evidence:evidence", "Read the durable Evidence Bundle.", READ),
    "proof": Lazy("cli.run_evidence:proof", "Fetch the proof bundle for offline checking (addition).", READ),
}

EXAMPLES = (
    "crownest workspace-runs run-archive repo.tgz -- python3 -m unittest",
    'crownest workspace-runs create --command "pnpm test" --metadata repo=acme/app',
    "crownest workspace-runs upload wsr_abc123 repo.tgz",
    "crownest workspace-runs start wsr_abc123",
    "crownest workspace-runs logs wsr_abc123",
    "crownest workspace-runs evidence wsr_abc123 --output evidence.json",
)


@click.group(
    name="workspace-runs", cls=LazyGroup, lazy=COMMANDS, examples=EXAMPLES, subcommand_metavar="COMMAND …"
)
def workspace_runs() -> None:
    """Run archives and read their evidence.

    A run takes an existing .tar.gz or .tgz, extracts it in a sandbox, executes one command there and
    keeps what happened. crownest does not pack folders: make the archive yourself, for example with
    `git archive --format=tar.gz -o repo.tgz HEAD`.

    Options marked "addition" are CrowNest server's own and unknown to other clients.
    """
