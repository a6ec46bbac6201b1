"""Lets Schemathesis ask a real server for what the OpenAPI document allows: `python -m tests.openapi`."""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import httpx2

from tests.isolation.things import Maker
from tests.isolation.world import client_of
from tests.openapi.prepared import with_real_things, without_streams
from tests.openapi.report import Report, read_report
from tests.simulation.server import ServerProcess

CASES = 5000
S_MAX = 3600
REQUEST_S_MAX = 30
COMMAND_MS_MAX = 2000
STEPS_MAX = 12
SCENARIOS_SHARE = 20
"""One chain of linked requests for so many cases."""
SANDBOXES_KEPT = 8
JANITOR_S = 0.5
CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance",
    "response_headers_conformance", "response_schema_conformance", "what_was_made_is_found",
    "ignored_auth",
)  # fmt: skip
"""`use_after_free` is none of them: here the record of what was deleted stays readable (CONTRACT §2)."""
ENVIRONMENT: Mapping[str, str] = {
    "CROWNEST_PROVIDER": "auto",
    "CROWNEST_RATE_LIMIT_PER_MINUTE": "0",
    "CROWNEST_RUNS__COMMAND_TIMEOUT_MS_DEFAULT": str(COMMAND_MS_MAX),
    "CROWNEST_RUNS__COMMAND_TIMEOUT_MS_MAX": str(COMMAND_MS_MAX),
    "CROWNEST_RUNS__COMMAND_CANCEL_WAIT_S": "1",
    "CROWNEST_RUNNER__TERMINATE_GRACE_MS": "200",
}
"""Commands are whatever text comes to mind: they run in sandboxes, and not for long."""


def main() -> int:
    """Ask, print the figures, and answer 0 when nothing broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.openapi", description=__doc__)
    parser.add_argument("--cases", type=int, default=CASES, help="how many requests at least")
    parser.add_argument("--seed", type=int, default=None, help="what the requests are made of")
    parser.add_argument("--only", default="", help="operations whose id matches this")
    parser.add_argument("--show", action="store_true", help="show what Schemathesis prints")
    parser.add_argument(
        "--program", default="", help="the schemathesis command; beside this Python if not given"
    )
    asked = parser.parse_args()
    program = asked.program or str(Path(sys.executable).with_name("schemathesis"))
    if shutil.which(program) is None:
        print(f"There is no {program}. Run: make setup-dev", file=sys.stderr)
        return 2
    seed = secrets.randbelow(2**32) if asked.seed is None else asked.seed
    with tempfile.TemporaryDirectory(prefix="openapi-") as name:
        folder = Path(name)
        server = ServerProcess(folder / "data", folder / "home", environment=ENVIRONMENT)
        server.start()
        try:
            asyncio.run(server.wait_ready())
            print(f"seed {seed}, server {server.url}", flush=True)
            report = asked_for(server, folder, program, seed, asked)
            alive = server.process is not None and server.process.poll() is None
        finally:
            server.kill()
        errors = [
            line for line in server.output.read_text(errors="replace").splitlines() if "Traceback" in line
        ]
    print(report.told())
    if not alive or errors:
        print(f"the server {'printed a traceback' if alive else 'ended'}")
    short = report.cases < asked.cases and not asked.only
    if short:
        print(f"only {report.cases} of {asked.cases} cases")
    return 1 if report.failures or report.errors or errors or short or not alive else 0


def asked_for(
    server: ServerProcess, folder: Path, program: str, seed: int, asked: argparse.Namespace
) -> Report:
    """Run Schemathesis to its end, and read what it found."""
    key: str = json.loads(server.config.read_text())["apiKey"]
    document = httpx2.get(f"{server.url}/openapi.json").json()
    count = without_streams(document)
    with client_of(server.url, key) as http:
        project = http.get("/v1/projects").json()["data"][-1]
        maker = Maker(http, project["orgId"], project["id"])
        http.post("/v1/signing-keys/rotate")  # so that there is a handover to ask for
        with_real_things(document, maker)
    schema, report, config = folder / "openapi.json", folder / "report.json", folder / "schemathesis.toml"
    schema.write_text(json.dumps(document))
    # Coverage makes as many as the schemas have borders, about two thousand; the others share the rest.
    each = max(1, asked.cases // (2 * count))
    config.write_text(_config(each, max(1, asked.cases // SCENARIOS_SHARE)))
    only = ("--include-operation-id-regex", asked.only) if asked.only else ()
    command = [
        program, "--config-file", str(config), "run", str(schema), "--url", server.url, "--seed", str(seed),
        "--header", f"Authorization: Bearer {key}", "--checks", ",".join(CHECKS), "--continue-on-failure",
        "--request-timeout", str(REQUEST_S_MAX), "--report", "json", "--report-json-path", str(report),
        "--no-color", "--warnings", "off", "--suppress-health-check", "all", *only,
    ]  # fmt: skip
    over = threading.Event()
    janitor = threading.Thread(target=_keep_few_sandboxes, args=(server.url, key, maker.live, over))
    janitor.start()
    began = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=folder, check=False, timeout=S_MAX, stdin=subprocess.DEVNULL,
            stdout=None if asked.show else subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    finally:
        over.set()
        janitor.join()
    if not report.exists():
        text = (done.stdout or b"").decode(errors="replace")
        raise SystemExit(f"Schemathesis wrote no report:\n{text[-4000:]}")
    return read_report(report, time.monotonic() - began)


def _config(each: int, scenarios: int) -> str:
    return f"""
hooks = "{Path(__file__).with_name("hooks.py")}"
[generation]
allow-x00 = true
database = "none"
max-examples = {each}
[phases.coverage]
unexpected-methods = []
[phases.stateful]
max-steps = {STEPS_MAX}
[phases.stateful.inference]
algorithms = []
[phases.stateful.generation]
max-examples = {scenarios}
"""


def _keep_few_sandboxes(url: str, key: str, live: str, over: threading.Event) -> None:
    """Kill all but the newest: plans allow so many, and a machine has so much memory."""
    with httpx2.Client(
        base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=REQUEST_S_MAX
    ) as http:
        while not over.wait(JANITOR_S):
            for sandbox in http.get("/v1/sandboxes?limit=500").json()["data"][SANDBOXES_KEPT:]:
                if sandbox["id"] != live:
                    http.delete(f"/v1/sandboxes/{sandbox['id']}")


if __name__ == "__main__":
    sys.exit(main())
