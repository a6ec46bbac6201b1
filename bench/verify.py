"""How fast is a proof verified: alone, with orjson, with more processes; does memory grow with the log?

Every measurement is a process of its own that verifies one bundle and must find it COMPLETE. `wall` is what
a person waits for; `cpu` is what the work takes of one core, also on a machine that does other things.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain as chain_up
from pathlib import Path
from typing import Any, BinaryIO

from bench import results
from bench.common import ROUNDS, SHORT, machine, scratch, table
from evidence.bundle import BundleWriter, EntryChain
from evidence.canonical import encode
from evidence.checkpoint import format_checkpoint
from evidence.feed import here
from evidence.fold import RunFold, StreamDigests, seal_fields
from evidence.merkle import CompactRange
from evidence.note import Ed25519Signer, sign_note
from evidence.policy import format_policy
from evidence.record import format_time, genesis
from evidence.verify import verify_bundle
from verifier.pool import looking

EVENTS = int(os.environ.get("BENCH_VERIFY_EVENTS", "10000" if SHORT else "200000"))
"""Events of the large bundle; the small one has a tenth."""
JOBS = int(os.environ.get("BENCH_VERIFY_JOBS", "2"))

RUN = "wsr_01k9x4m2c7d8e9f0g1h2j3k4m5"
ORIGIN = "crownest.local/0123456789abcdef"
START_MS = 1_795_356_180_000
EVENTS_A_MS = 20
COPY_BYTES = 1024 * 1024
TEMPLATE = {"id": "tpl_bench", "slug": "base", "version": "sha256-0", "versionId": "tplv_0"}
REQUEST = {
    "command": "make test", "projectId": "prj_bench", "template": "base", "timeoutMs": 600_000,
    "keepSandbox": False, "metadata": {}, "sourceMetadata": {}, "artifacts": [],
}  # fmt: skip
BEGINNING: list[dict[str, Any]] = [
    {"type": "status", "status": "awaiting_archive", "runId": RUN, "orgId": "org_bench", "actor": "key_bench",
     "envKeys": [], "schema": "events/v1", "request": REQUEST, "template": TEMPLATE},
    {"type": "status", "status": "archive_uploaded", "actor": "key_bench",
     "archive": {"sha256": "ab" * 32, "sizeBytes": 12}},
    {"type": "status", "status": "starting", "actor": "key_bench", "sandboxId": "sbx_bench"},
    {"type": "status", "status": "extracting", "provider": "process", "isolation": "none", "limits": {},
     "runner": "local", "template": TEMPLATE},
    {"type": "status", "status": "running", "commandId": "cmd_bench", "entries": 1, "bytes": 5},
]  # fmt: skip
ENDING: list[dict[str, Any]] = [
    {"type": "status", "status": "collecting", "durationMs": 9, "exitCode": 0},
    {"type": "cleanup", "cleanupStatus": "succeeded", "reason": "finished"},
    {"type": "outcome", "status": "succeeded", "orchestrationSucceeded": True},
]
WORDS = [
    "compile", "link", "parse", "resolve", "fetch", "cache", "worker", "thread", "socket", "buffer", "schema",
    "index", "query", "token", "session", "expected", "received", "timeout", "retry", "skipped", "passed",
    "module", "package", "target", "release", "debug", "warning", "unused",
]  # fmt: skip


def lines(count: int) -> Iterator[dict[str, Any]]:
    """Output as builds and tests write it: paths, times, quotes, tabs, some stderr, some more than ASCII."""
    chance = random.Random(count)  # the same bundle every time
    for number in range(count):
        words = " ".join(chance.choices(WORDS, k=12))
        path = f"src/{chance.choice(WORDS)}/{chance.choice(WORDS)}_{chance.randrange(1000)}.py"
        said = chance.choice(
            (
                f"{path}:{chance.randrange(2000)}:{chance.randrange(80)}: {words}",
                f'FAIL\t"{chance.choice(WORDS)}" != "{chance.choice(WORDS)}" in {path} after {words}',
                f"[{number:>7}] {path} \u2713 {words} ({chance.random() * 9:.3f} s)",
                f"test_{words.replace(' ', '_')} ({path}) ... ok, {chance.randrange(10_000)} of {count}",
            )
        )
        yield {"type": "stderr" if chance.random() < 0.05 else "stdout", "data": f"{said}\n"}


def latin(count: int) -> Iterator[dict[str, Any]]:
    """The same output from a program that does not write UTF-8: what is judged without the quick look."""
    for fields in lines(count):
        raw = b"\xe9 " + fields["data"].encode()
        encoded = base64.b64encode(raw).decode()
        yield {**fields, "data": raw.decode("utf-8", "replace"), "dataBase64": encoded}


def make_bundle(path: Path, output: Iterable[dict[str, Any]]) -> bytes:
    """Write the bundle of a sealed run with these output events; answers the policy that trusts it."""
    signer = Ed25519Signer.generate(ORIGIN)
    log_path = path.with_suffix(".log")
    with log_path.open("wb+") as log:
        evidence, size, root = _write_events(log, output)
        log.seek(0)
        with path.open("wb") as out:
            note = sign_note(format_checkpoint(ORIGIN, RUN, size, root), signer)
            writer = BundleWriter(out, checkpoint=note, anchor=b"", evidence=evidence)
            while chunk := log.read(COPY_BYTES):
                writer.event(chunk)
            writer.close()
    log_path.unlink()
    return format_policy(signer.verifier_key)


def _write_events(log: BinaryIO, output: Iterable[dict[str, Any]]) -> tuple[bytes, int, bytes]:
    """Write the entries of the whole run; answers evidence.json, the number of events and their root."""
    chain, tree, fold, digests = (
        EntryChain(RUN, genesis(RUN, b"")),
        CompactRange(),
        RunFold(),
        StreamDigests(),
    )
    salts = random.Random(0)

    def append(fields: dict[str, Any]) -> None:
        at_ms = START_MS + tree.size // EVENTS_A_MS
        event = {**fields, "seq": tree.size + 1, "createdAt": format_time(at_ms)}
        fold.apply(event)
        digests.update(event)
        payload = encode(event)
        row = Row(tree.size + 1, event["type"], at_ms, payload, salts.randbytes(16), len(payload))
        log.write(chain.add(row))
        tree.append(chain.prev)

    for fields in chain_up(BEGINNING, output, ENDING):
        append(fields)
    evidence = encode(fold.evidence())
    append({"type": "terminal", "workspaceRun": fold.run_view()})
    append({"type": "seal", **seal_fields(evidence, digests, tree.size)})
    return evidence, tree.size, tree.root()


@dataclass(frozen=True, slots=True)
class Row:
    """One event as a log stores it."""

    seq: int
    type: str
    created_at_ms: int
    payload: bytes
    salt: bytes
    payload_size: int
    commitment: None = None


def measured(bundle: Path, jobs: int, *, orjson: bool) -> dict[str, float]:
    """What a fresh process finds out about itself while it verifies the bundle."""
    hide = "" if orjson else "sys.modules['orjson'] = None; "  # importing it now raises ImportError
    program = f"import sys; {hide}from bench.verify import verify_here; verify_here({str(bundle)!r}, {jobs})"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    figures: dict[str, float] = json.loads(done.stdout)
    assert figures["orjson"] is orjson
    return figures


def verify_here(bundle: str, jobs: int) -> None:
    """Verify in this process, and print the figures as JSON."""
    policy = Path(bundle).with_suffix(".policy").read_bytes()
    began, began_cpu = time.perf_counter(), _cpu_s()
    with looking(jobs) if jobs > 1 else nullcontext(here) as each:
        # Log and attestations cost the same whatever the size: the bundle goes without.
        verdict = verify_bundle(
            Path(bundle), policy, expected_run=RUN, allow_unlogged=True, allow_unattested=True, each=each
        )
    took, took_cpu = time.perf_counter() - began, _cpu_s() - began_cpu
    assert verdict.verdict == "COMPLETE", verdict.message
    assert verdict.size is not None
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    others_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss if jobs > 1 else 0
    figures = {
        "wall": verdict.size / took,
        "cpu": verdict.size / took_cpu,
        "peak_mib": (int(status["VmHWM"].split()[0]) + jobs * others_kib) / 1024,
        "orjson": "orjson" in sys.modules and sys.modules["orjson"] is not None,
    }
    print(json.dumps(figures))


def hashed(bundle: Path) -> float:
    """Events per second of hashing the same bytes and nothing else: what no verifier can do without."""
    with zipfile.ZipFile(bundle) as archive:
        parts = [archive.read(name) for name in archive.namelist()]
    began = time.perf_counter()
    for part in parts:
        hashlib.sha256(part).digest()
    return EVENTS / (time.perf_counter() - began)


def _cpu_s() -> float:
    """Seconds of CPU that this process and those that it started took."""
    return sum(os.times()[:4])


def main() -> None:
    """Print the table."""
    with scratch() as folder:
        small, large, odd = folder / "small.zip", folder / "large.zip", folder / "odd.zip"
        bundles = {small: lines(EVENTS // 10), large: lines(EVENTS), odd: latin(EVENTS // 10)}
        for path, output in bundles.items():
            path.with_suffix(".policy").write_bytes(make_bundle(path, output))
        sides = {
            "standard library": (large, 1, False),
            "standard library, a tenth": (small, 1, False),
            "with orjson": (large, 1, True),
            f"with orjson, {JOBS} jobs": (large, JOBS, True),
            f"with orjson, {JOBS} jobs, a tenth": (small, JOBS, True),
            "not UTF-8, standard library, a tenth": (odd, 1, False),
            "not UTF-8, with orjson, a tenth": (odd, 1, True),
        }
        seen: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
        for number in range(ROUNDS + 1):
            results.progress(f"verify: round {number} of {ROUNDS}")
            for name, (bundle, jobs, orjson) in sides.items():
                figures = measured(bundle, jobs, orjson=orjson)
                if number:  # the first round only warms the file cache
                    seen[name].append(figures)
        size_mib = large.stat().st_size / 1024 / 1024
        sha256 = statistics.median(hashed(large) for _ in range(ROUNDS))
    table(
        f"verify a bundle of {EVENTS:,} output events, {size_mib:.0f} MiB ({machine(ROUNDS)})",
        ["how", "events/s", "events/s of CPU", "peak MiB", "sha256/ours"],
        [_row(name, figures, sha256) for name, figures in seen.items()],
    )


def _row(name: str, figures: list[dict[str, float]], sha256: float) -> list[object]:
    medians = {key: statistics.median(one[key] for one in figures) for key in ("wall", "cpu", "peak_mib")}
    return [name, *medians.values(), sha256 / medians["cpu"]]


if __name__ == "__main__":
    main()
