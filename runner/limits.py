"""The numbers with names of the runner (DESIGN §5), and how they are reported."""

from __future__ import annotations

from dataclasses import dataclass

from runner.archive import ArchiveLimits

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerLimits:
    """What one run may use of this machine, and how long the runner waits for things."""

    extracted_bytes_max: int = 512 * MIB
    entries_max: int = 50_000
    path_depth_max: int = 64
    path_bytes_max: int = 1024
    ratio_max: int = 200
    """Bytes out per byte in; ordinary source packs 4 to 20 times, one value over and over 1,030 times."""

    output_bytes_max: int = 256 * MIB
    """Both streams together; what comes after is counted, not kept."""
    output_chunk_bytes_max: int = 64 * KIB
    output_window_ms: int = 50

    memory_bytes_max: int = 2 * GIB
    processes_max: int = 512
    workspace_bytes_max: int = GIB
    """With bubblewrap the workspace lies in memory: a hard limit, and nothing to sweep after a crash."""
    scratch_bytes_max: int = 256 * MIB
    """Each of /tmp, the home folder and /dev/shm."""

    artifact_bytes_max: int = 64 * MIB
    artifacts_max: int = 32

    sandbox_commands_max: int = 16
    """Commands at once in one sandbox, a run's own among them not counted."""
    file_bytes_max: int = 64 * MIB
    """The longest file that is read or written whole."""
    file_operations_max: int = 4
    """At once in one sandbox; more wait."""
    file_timeout_ms: int = 30_000
    listing_entries_max: int = 10_000
    dials_max: int = 32
    """Connections of one sandbox that are being made at once; more wait."""
    dial_timeout_ms: int = 5_000

    concurrent_runs_max: int = 4
    kept_ttl_ms: int = 60 * 60 * 1000
    boot_timeout_ms: int = 10_000
    extract_timeout_ms: int = 120_000
    terminate_grace_ms: int = 2_000
    """Between SIGTERM and SIGKILL after a timeout or a cancel."""
    stop_timeout_ms: int = 10_000

    def tasks_max(self) -> int:
        """What the holder of one sandbox is asked to do at once: all of the above, and a run."""
        return self.sandbox_commands_max + self.file_operations_max + self.dials_max + 1

    def archive(self) -> ArchiveLimits:
        """The part that the extractor needs."""
        return ArchiveLimits(
            bytes_max=self.extracted_bytes_max,
            entries_max=self.entries_max,
            depth_max=self.path_depth_max,
            path_bytes_max=self.path_bytes_max,
            ratio_max=self.ratio_max,
        )
