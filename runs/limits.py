"""Named limits of what a caller may ask for (DESIGN §5, CONTRACT §11)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunLimits:
    """Bounds on requests, queues and waits of the rules."""

    archive_bytes_max: int = 8 * 1024 * 1024
    """Direct and staged archives alike."""
    command_bytes_max: int = 32 * 1024
    artifacts_requested_max: int = 32
    artifact_path_bytes_max: int = 4096
    artifact_name_bytes_max: int = 255
    request_bytes_max: int = 192 * 1024
    """The whole request as canonical JSON. `terminal` shows up to twice of it and must fit into one event
    (`eventstore.log.LogLimits.payload_bytes_max`), or the run could never end."""
    metadata_keys_max: int = 16
    metadata_key_chars_max: int = 64
    metadata_value_chars_max: int = 512
    metadata_bytes_max: int = 4096
    timeout_ms_default: int = 10 * 60 * 1000
    timeout_ms_max: int = 60 * 60 * 1000
    recorded_timeout_ms_default: int = 24 * 60 * 60 * 1000
    recorded_timeout_ms_max: int = 30 * 24 * 60 * 60 * 1000
    """Of runs that are recorded elsewhere: nothing here is held up by them."""
    recorded_silence_ms_max: int = 60 * 60 * 1000
    """A recorded run whose producers are not heard of for so long is ended."""
    recorded_output_bytes_max: int = 256 * 1024 * 1024
    """Kept of one recorded run, both streams together; past that `output_truncated` says so, once."""
    recorded_append_events_max: int = 900
    """Output events of batches that share one append; with those that begin and truncate they must fit into
    `eventstore.log.LogLimits.append_events_max`."""
    recorded_batches_kept: int = 128
    """Batches of each producer that are answered again when they come a second time: twice as many as an
    append session lets wait (`api.limits.ApiLimits.session_batches_max`)."""
    recorded_producers_max: int = 16
    """Producers of one run."""
    recordings_cached_max: int = 512
    """Recorded runs kept in memory; a further one is folded from the log again when it goes on."""
    awaiting_archive_ms_max: int = 24 * 60 * 60 * 1000
    """A run without an archive, or uploaded but not started, ends after this."""
    transfer_ms_max: int = 60 * 60 * 1000
    """A staged transfer must be finalized within this."""
    idempotency_ms: int = 24 * 60 * 60 * 1000
    executing_max: int = 4
    """Runs executing at once; further ones wait in `starting`."""
    starting_max: int = 10_000
    """Runs waiting in `starting`; a start beyond that is refused with `slow_down`."""
    append_attempts_max: int = 32
    """Decisions taken again because somebody else appended first."""
    reap_interval_s: float = 30.0
    """How often overdue runs and sandboxes are looked for."""
    storage_retry_s: float = 5.0
    """Pause before the end of a run is recorded again when the disk was full."""
    secrets_max: int = 64
    """Secrets of one project."""
    secret_bytes_min: int = 4
    """A shorter value stands in any output by chance: masking it would destroy the output."""
    secret_bytes_max: int = 16 * 1024
    secrets_bytes_max: int = 64 * 1024
    """Names and values of one project's secrets: with the command they must fit into one packet to the
    sandbox (`runner.wire.PACKET_BYTES_MAX`)."""
    key_use_interval_s: float = 60.0
    """How often the last use of API keys is written down."""
    sandbox_ttl_ms_default: int = 60 * 60 * 1000
    """A warm sandbox ends after this unless the caller says otherwise; the plan has the maximum."""
    sandbox_boots_max: int = 4
    """Warm sandboxes of one organisation that boot at once; more wait their turn, counted but not begun."""
    command_timeout_ms_default: int = 60 * 1000
    command_timeout_ms_max: int = 10 * 60 * 1000
    """Commands in a warm sandbox that are waited for; runs have their own."""
    background_timeout_ms_max: int = 7 * 24 * 60 * 60 * 1000
    """Commands in the background: as long as any sandbox may live, and the default, for servers are such."""
    command_env_max: int = 64
    command_env_bytes_max: int = 64 * 1024
    """Names and values together."""
    command_output_bytes_max: int = 8 * 1024 * 1024
    """Kept of one command in a warm sandbox, both streams together."""
    command_answer_bytes_max: int = 256 * 1024
    """Of each stream, in the answer of a command that was waited for."""
    command_logs_ms: int = 24 * 60 * 60 * 1000
    """How long the output of such a command is kept after its end. It is no evidence: runs are."""
    command_logs_bytes_max: int = 4 * 1024 * 1024 * 1024
    """Of the output of all such commands together; past that the oldest goes before its day is over."""
    command_cancel_wait_s: float = 5.0
    """How long a cancel waits for the command's end before it answers that it still runs."""
    file_direct_bytes_max: int = 256 * 1024
    """Read or written in one JSON body (CONTRACT §7.2)."""
    blob_grace_ms: int = 2 * 60 * 60 * 1000
    """A content that no artifact refers to any more is removed after this. Longer than `transfer_ms_max`: a
    staged archive may have the same bytes, and is an archive only when it is finalized."""


@dataclass(frozen=True, slots=True)
class SignInLimits:
    """Bounds on sign-ins and what they leave."""

    session_ms: int = 12 * 60 * 60 * 1000
    """A session ends this long after its sign-in, used or not."""
    sessions_per_holder_max: int = 20
    """A further sign-in of the same identity or API key ends the oldest session."""
    link_ms: int = 10 * 60 * 1000
    """A one-time link that nobody followed is void after this."""
    attempts_per_minute: int = 20
    """Sign-ins with a key or a link from one address; past that it waits."""
    invitation_ms: int = 30 * 24 * 60 * 60 * 1000
    invitations_per_address_max: int = 16
    memberships_max: int = 16
    """Organisations that one identity belongs to."""
    transaction_ms: int = 10 * 60 * 1000
    """From the begin of a sign-in to its return from the provider."""
    transactions_used_max: int = 100_000
    """Returned sign-ins that are remembered until they could no longer be replayed."""
    next_chars_max: int = 1024
    expired_at_once_max: int = 20
    """Expired records of a kind that each sign-in clears away; more than a sign-in can make."""
