"""What the runs of the crash programme do: archives, commands, and the output that they must have given."""

from __future__ import annotations

import io
import random
import tarfile

from tests.simulation.ledger import Plan

SCRIPT = rb"""# Numbered lines, some of them no UTF-8. Arguments: op lines burst pause exit leaves_process
printf 'artifact of %s\n' "$1" > artifact.txt
if [ "$6" = 1 ]; then setsid sh -c 'sleep 600; :' "$1" >/dev/null 2>&1 & fi
i=0
while [ $i -lt "$2" ]; do
  i=$((i+1))
  if [ $((i % 7)) = 0 ]; then printf '%06d %s\n' $i "$1" >&2
  elif [ $((i % 11)) = 0 ]; then printf '%06d %s \377\n' $i "$1"
  else printf '%06d %s\n' $i "$1"; fi
  if [ $((i % $3)) = 0 ]; then sleep "$4"; fi
done
exit "$5"
"""
ARTIFACT_PATH = "artifact.txt"
PADDING_BYTES_MIN, PADDING_BYTES_MAX = 1_100_000, 1_400_000
"""Over one MiB, so that `archive_progress` is recorded too."""


def command(plan: Plan) -> str:
    """The shell line of the run; it holds the op, so that its processes can be found."""
    leaves = int(plan.leaves_process)
    return f"sh work.sh {plan.op} {plan.lines} {plan.burst} {plan.pause_s} {plan.exit_code} {leaves}"


def archive(plan: Plan) -> bytes:
    """A small archive; every run has its own bytes, so that every run needs its own blob."""
    files = {"work.sh": SCRIPT, "op.txt": plan.op.encode()}
    if plan.padding_bytes:
        files["padding.bin"] = random.Random(plan.op).randbytes(plan.padding_bytes)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    data = bytearray(out.getvalue())
    data[4:8] = b"\0\0\0\0"  # the gzip header's time, so that the same plan always gives the same bytes
    return bytes(data)


def artifact(plan: Plan) -> bytes:
    """What the run leaves in its artifact."""
    return f"artifact of {plan.op}\n".encode()


def expected_output(plan: Plan) -> dict[str, bytes]:
    """Everything that the command prints when nothing stops it, by stream."""
    streams: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
    for i in range(1, plan.lines + 1):
        text = f"{i:06d} {plan.op}"
        if i % 7 == 0:
            streams["stderr"].append(f"{text}\n".encode())
        elif i % 11 == 0:
            streams["stdout"].append(text.encode() + b" \xff\n")
        else:
            streams["stdout"].append(f"{text}\n".encode())
    return {name: b"".join(lines) for name, lines in streams.items()}


def slow(rng: random.Random, op: str) -> Plan:
    """A run that streams for a few seconds: most of them are executing when the server dies."""
    return Plan(
        op=op,
        lines=rng.randrange(120, 260),
        burst=rng.choice((4, 5, 6)),
        pause_s=rng.choice(("0.04", "0.05", "0.07")),
        exit_code=rng.choice((0, 0, 3)),
        staged=rng.random() < 0.5,
        keep=rng.random() < 0.05,
        artifact=rng.random() < 0.5,
        leaves_process=rng.random() < 0.1,
        cancel_after_s=rng.uniform(0.2, 1.0) if rng.random() < 0.08 else None,
    )


def quick(rng: random.Random, op: str) -> Plan:
    """A run that ends at once, with artifacts and kept sandboxes among them."""
    lines = rng.choice((1, 20, 300, 1500))
    return Plan(
        op=op,
        lines=lines,
        burst=lines + 1,
        pause_s="0",
        exit_code=rng.choice((0, 0, 0, 7)),
        staged=rng.random() < 0.5,
        keep=rng.random() < 0.3,
        artifact=rng.random() < 0.7,
        leaves_process=rng.random() < 0.2,
    )


def never_started(rng: random.Random, op: str) -> Plan:
    """A run that is uploaded and canceled: it is there for its uploads and creates to be in flight."""
    big = rng.random() < 0.4
    return Plan(
        op=op,
        lines=0,
        burst=1,
        pause_s="0",
        exit_code=0,
        staged=rng.random() < 0.5,
        start=False,
        padding_bytes=rng.randrange(PADDING_BYTES_MIN, PADDING_BYTES_MAX) if big else 0,
        cancel_after_s=0.0,
    )
