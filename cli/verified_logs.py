"""Reading a run with proof: the policy, the pin file, and what to say when the server tells another story."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cli import output
from cli.event_output import EventWriter
from cli.files import replacing
from cli.problems import CliError, Problem, failure, usage
from client.api import CrownestClient
from client.verified import follow_verified
from evidence.canonical import FormatError
from evidence.pin import PIN_BYTES_MAX, Pin, parse_pin
from evidence.policy import parse_policy
from evidence.verdict import CODES, VerificationError
from evidence.verdict_text import ANOTHER_COPY, REMEDIES
from evidence.window import StreamReading


def write_verified(
    client: CrownestClient,
    writer: EventWriter,
    run_id: str,
    *,
    after_seq: int,
    policy_file: Path,
    pin_file: Path | None,
) -> None:
    """Write the run's events as they are proved; at its end say whose signature proved them."""
    path = pin_file or pin_path(run_id)
    with _reading(run_id, policy_file, path) as reading:
        for event in follow_verified(client, run_id, reading, after_seq):
            writer.write(event)
    writer.finish()
    signers = " and ".join(f"{key.name}+{key.key_id.hex()}" for key in reading.signers)
    output.note(f"verified up to event {reading.seq}, signed by {signers}; pinned in {path}")


def pin_path(run_id: str, env: Mapping[str, str] | None = None) -> Path:
    """$XDG_STATE_HOME/crownest/pins/<run id>.pin, or below ~/.local/state."""
    base = (os.environ if env is None else env).get("XDG_STATE_HOME", "")
    state = Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "state"
    return state / "crownest" / "pins" / f"{run_id}.pin"


@contextmanager
def _reading(run_id: str, policy_file: Path, pin_file: Path) -> Generator[StreamReading]:
    """A reading that begins at the pin; however it ends, what was proved is pinned."""
    try:
        policy = parse_policy(policy_file.read_bytes())
    except FormatError as error:
        raise usage(f"{policy_file}: {error}.", "crownest policy > trust.policy writes one.") from error
    try:
        reading = StreamReading(run_id, policy, _read(pin_file))
        try:
            yield reading
        finally:
            if pin := reading.pin():
                _write(pin_file, pin)
    except VerificationError as error:
        raise CliError(_not_proved(error, pin_file)) from error


def _read(path: Path) -> Pin | None:
    """The pin, None where nothing was pinned yet."""
    try:
        with path.open("rb") as file:
            return parse_pin(file.read(PIN_BYTES_MAX))
    except FileNotFoundError:
        return None
    except FormatError as error:
        advice = "Restore it, or move it away to start anew and trust what comes first."
        raise failure(f"{path} is no pin: {error}.", advice) from error


def _write(path: Path, pin: Pin) -> None:
    """Keep it, whole and durably, unless another reader of the run has meanwhile seen more of it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(CliError):  # rubbish is told of by the next reading, and kept for it
        known = _read(path)
        if known is not None and known.seq > pin.seq:
            return
    with replacing(path, durable=True) as out:
        out.write(pin.to_bytes())


def _not_proved(error: VerificationError, pin_file: Path) -> Problem:
    code = CODES[error.code]
    return Problem(
        error.code,
        f"{code.meaning} {error.detail} (PROOF {code.clause})",
        f"{REMEDIES.get(error.code, ANOTHER_COPY)} What was seen before is pinned in {pin_file}.",
        details={"seq": error.seq, "clause": code.clause},
    )
