"""All routers of the dashboard, in the order in which they are tried."""

from __future__ import annotations

from api.dashboard import (
    artifacts_page,
    entrance,
    keys_page,
    log_page,
    problems,
    proof_page,
    raw_log,
    run_page,
    runs_page,
    sandboxes_page,
    static_files,
    usage_page,
)

ROUTERS = (
    entrance.router,
    runs_page.router,
    run_page.router,
    proof_page.router,
    raw_log.router,
    artifacts_page.router,
    sandboxes_page.router,
    usage_page.router,
    log_page.router,
    keys_page.router,
    problems.router,
    static_files.router,
)
