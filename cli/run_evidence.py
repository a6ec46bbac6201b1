"""The commands evidence and proof: what is kept of a run, for reading and for checking offline."""

from __future__ import annotations

from pathlib import Path

import click

from cli import output
from cli.files import replacing
from cli.lazy import ExampleCommand
from cli.options import JSON, RUN_ID, session

WITHHOLDABLE = frozenset({"stdout", "stderr"})
OUTPUT = click.Path(dir_okay=False, path_type=Path)


@click.command(
    cls=ExampleCommand, examples=("crownest workspace-runs evidence wsr_abc123 --output evidence.json",)
)
@RUN_ID
@click.option("--output", "target", metavar="PATH", type=OUTPUT, help="Write pretty JSON to a file.")
@JSON
def evidence(*, run_id: str, target: Path | None, as_json: bool) -> None:
    """Read the durable Evidence Bundle.

    It exists once the run has ended. Without --output it is printed. The file can be checked against
    a proof: crownest verify evidence.json --bundle proof.zip --policy trust.policy
    """
    with session(run_id) as client:
        bundle = client.evidence(run_id)
    if target is None:
        if as_json:
            output.json_data(bundle)
        else:
            output.write_out(output.pretty(bundle))
        return
    with replacing(target) as out:
        out.write(output.pretty(bundle).encode())
    if as_json:
        output.json_data({"path": str(target)})
    else:
        output.note(f"evidence of {run_id} written to {target}")
        output.hint(f"next: crownest workspace-runs proof {run_id} --output proof.zip")


def _parse_withheld(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """`stdout`, `stderr`, or both with a comma between; only output can be withheld (PROOF P7)."""
    names = [name.strip() for value in values for name in value.split(",")]
    unknown = sorted(set(names) - WITHHOLDABLE)
    if unknown:
        raise click.BadParameter(
            f"{unknown[0]!r} cannot be withheld: only stdout and stderr can.", ctx, param
        )
    return tuple(dict.fromkeys(names))


@click.command(
    cls=ExampleCommand,
    examples=(
        "crownest workspace-runs proof wsr_abc123 --output proof.zip",
        "crownest workspace-runs proof wsr_abc123 --output shared.zip --without stdout,stderr",
        "crownest verify proof.zip --policy trust.policy --run wsr_abc123",
    ),
)
@RUN_ID
@click.option("--output", "target", metavar="PATH", type=OUTPUT, required=True, help="The zip file to write.")
@click.option(
    "--without",
    metavar="stdout,stderr",
    multiple=True,
    callback=_parse_withheld,
    help="Withhold the content of these events; the rest stays provable. Also repeatable.",
)
@click.option("--artifacts", is_flag=True, help="Put the artifacts' content in.")
@JSON
def proof(*, run_id: str, target: Path, without: tuple[str, ...], artifacts: bool, as_json: bool) -> None:
    """Fetch the proof bundle for offline checking (addition).

    The bundle holds the evidence, every event, the signed checkpoint and what ties them together.
    Check it anywhere with crownest verify, and the server's policy file that you keep elsewhere.
    """
    with session(run_id) as client, replacing(target) as out:
        size_bytes = client.proof_bundle(run_id, out, without=without, artifacts=artifacts)
    if as_json:
        output.json_data({"path": str(target), "sizeBytes": size_bytes})
        return
    output.note(f"proof of {run_id} written to {target} ({size_bytes:,} bytes)")
    output.hint(f"next: crownest verify {target} --policy trust.policy --run {run_id}")
