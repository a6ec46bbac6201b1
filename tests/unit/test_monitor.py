"""The monitor follows a log over HTTP, and names what an honest one does not show (PROOF P5.6)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from evidence.merkle import CompactRange, inclusion_proof, verify_inclusion
from evidence.note import sign_note
from evidence.policy import format_policy, parse_policy
from evidence.record import leaf_hash
from evidence.tiles import TileTree, hash_tiles
from evidence.witnessing import sign_cosignature, witness_key
from tests.cli.recording_server import DROP, RecordingServer, Reply
from tests.evidence_samples import LOG_KEY, ORIGIN, signer
from tests.tile_server import API_KEY, TileServer, key_entry, run_entry, serving_tiles, stream_entry
from tests.witness_kit import NOW_S, GrowingLog, cosigned
from witness.asking import Asker, AskLimits
from witness.durable import Locked
from witness.fetching import FetchLimits, Unreadable, Web
from witness.following import Following, open_following
from witness.history import History
from witness.mirror import Mirror
from witness.monitor import SEAL_S_MAX, Monitor, Report
from witness.state import StateError
from witness.tilelog import TileLog

RUNS = [f"wsr_r{number}" for number in range(30)]
"""Each is asked for over HTTP: ten times as many would show nothing more."""


@dataclass
class Watcher:
    """A monitor that is started anew for each round, as from cron."""

    server: TileServer
    folder: Path
    policy: bytes = format_policy(LOG_KEY.verifier_key)
    asks: bool = True
    mirror: Path | None = None
    key: str = API_KEY
    limits: AskLimits | None = None

    def __call__(self, now_s: int = NOW_S) -> Report:
        """One round."""
        with open_following(self.folder) as following:
            return self.monitor(following).round(now_s)

    def monitor(self, following: Following) -> Monitor:
        """A monitor that goes on."""
        self.slept: list[float] = []
        web = Web()
        asker = Asker(web, self.server.url, self.key, sleep=self.slept.append, limits=self.limits)
        return Monitor(
            TileLog(web, f"{self.server.url}/log"),
            following,
            parse_policy(self.policy),
            asker=asker if self.asks else None,
            mirror=Mirror(self.mirror) if self.mirror else None,
        )


@pytest.fixture
def server() -> Iterator[TileServer]:
    """A log with 30 runs, created and sealed among entries of an organisation: 600 in three bundles."""
    with serving_tiles(GrowingLog()) as served:
        names = [run.removeprefix("wsr_") for run in RUNS]
        served.log.entries += [run_entry(name, 1) for name in names]
        served.log.entries += [stream_entry("org_first", size) for size in range(1, 601 - 2 * len(names))]
        served.log.entries += [run_entry(name, 9) for name in names]
        yield served


@pytest.fixture
def watch(server: TileServer, tmp_path: Path) -> Watcher:
    """A monitor of it."""
    return Watcher(server, tmp_path / "state")


def codes(report: Report) -> list[str]:
    """What was found."""
    return [finding.code for finding in report.findings]


def test_an_honest_log_is_well_while_it_grows(server: TileServer, watch: Watcher) -> None:
    """All entries once, then only what is new; each run is asked for."""
    first = watch()
    assert (first.exit_code, first.size, first.new_entries, first.runs) == (0, 600, 600, 30)
    assert (first.open_runs, first.findings, first.notices, first.unreadable) == (0, [], [], [])
    assert {path.rpartition("/")[2] for path in server.requests if path.startswith("/v1/")} == set(RUNS)
    server.requests.clear()
    server.log.entries += [run_entry("new", 1), stream_entry("org_a", 4), stream_entry("org_a", 90)]
    second = watch()
    assert (second.exit_code, second.size, second.new_entries) == (0, 603, 3)
    assert (second.runs, second.open_runs, second.other_streams) == (31, 1, 2)
    assert [path for path in server.requests if "tile" in path] == ["/log/tile/entries/002.p/91"]
    assert watch().new_entries == 0


def test_a_monitor_that_runs_on_sees_what_one_that_restarts_sees(server: TileServer, watch: Watcher) -> None:
    """The same rounds in one process."""
    with open_following(watch.folder) as following:
        monitor = watch.monitor(following)
        assert monitor.round(NOW_S).size == 600
        server.log.entries.append(run_entry("r0", 12))
        assert codes(monitor.round(NOW_S)) == codes(monitor.round(NOW_S)) == ["E_DOUBLE_SEAL"]
    assert codes(watch()) == ["E_DOUBLE_SEAL"]


def test_redactions_grow_by_one_each(server: TileServer, watch: Watcher) -> None:
    """One event a redaction; an organisation may grow as it likes."""
    server.log.entries += [run_entry("r0", 10), run_entry("r0", 11)]
    server.log.entries += [stream_entry("org_a", size) for size in (2, 2, 40, 41, 99)]
    assert watch().exit_code == 0


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        ([run_entry("r0", 11)], "E_DOUBLE_SEAL"),
        ([run_entry("r0", 10), run_entry("r0", 12)], "E_DOUBLE_SEAL"),
        ([run_entry("r0", 9)], "E_DOUBLE_SEAL"),
        ([run_entry("x", 1), run_entry("x", 1)], "E_DOUBLE_SEAL"),
        ([run_entry("r0", 9, "other")], "E_LOG_FORK"),
        ([run_entry("r0", 8)], "E_LOG_FORK"),
        ([run_entry("x", 1), run_entry("x", 3), run_entry("x", 2)], "E_LOG_FORK"),
        ([run_entry("x", 9)], "E_LOG_FORK"),
        ([run_entry("x", 0)], "E_LOG_FORK"),
        ([stream_entry("org_a", 5), stream_entry("org_a", 4)], "E_LOG_FORK"),
        ([stream_entry("org_a", 5), stream_entry("org_a", 5, "other")], "E_LOG_FORK"),
        ([b"nothing"], "E_FORMAT"),
        ([b""], "E_FORMAT"),
        ([stream_entry("wsr_x", 1, origin="other.example")], "E_ORIGIN_MISMATCH"),
    ],
)
def test_an_entry_that_cannot_be_is_found(
    server: TileServer, watch: Watcher, entries: list[bytes], code: str
) -> None:
    """Each with the stream and the place in the log, again in every later round."""
    server.log.entries += entries
    for _ in range(2):
        report = watch()
        assert (codes(report), report.exit_code) == ([code], 1)
        assert report.findings[0].entry == 599 + len(entries)


def test_a_seal_that_passes_for_a_creation_hides_no_second_one(server: TileServer, watch: Watcher) -> None:
    """A log that leaves the creation out could show two endings of a run as its beginning and its end."""
    server.log.entries += [run_entry("x", 9, "one ending"), run_entry("x", 12, "another")]
    report = watch()
    assert [(found.code, found.stream, found.entry) for found in report.findings] == [
        ("E_LOG_FORK", "wsr_x", 600)
    ]
    assert "creation" in report.findings[0].message


def test_a_run_that_the_server_does_not_have_is_missing(server: TileServer, watch: Watcher) -> None:
    """Found in each round while it is so, and no more once it is back."""
    server.gone.add("wsr_r7")
    for _ in range(2):
        report = watch()
        assert [(f.code, f.stream, f.entry) for f in report.findings] == [("E_RUN_MISSING", "wsr_r7", 7)]
    server.gone.clear()
    assert watch().exit_code == 0


def test_a_run_that_vanishes_later_is_found_in_its_turn(server: TileServer, watch: Watcher) -> None:
    """Earlier runs are asked for again, some in each round, until all had their turn."""
    watch.limits = AskLimits(again_max=10)
    assert watch().exit_code == 0
    server.gone.add(RUNS[-1])
    rounds = len(RUNS) // watch.limits.again_max
    found = [codes(watch()) for _ in range(rounds)]
    assert found[-1] == ["E_RUN_MISSING"]
    assert found[0] == []


def test_a_run_without_a_seal_is_missing_after_the_limit(server: TileServer, watch: Watcher) -> None:
    """Counted from when the monitor first saw it; a seal that comes late ends it."""
    server.log.entries.append(run_entry("slow", 1))
    assert watch(NOW_S).exit_code == 0
    assert watch(NOW_S + SEAL_S_MAX).exit_code == 0
    late = watch(NOW_S + SEAL_S_MAX + 1)
    assert [(f.code, f.stream) for f in late.findings] == [("E_RUN_MISSING", "wsr_slow")]
    server.log.entries.append(run_entry("slow", 30))
    assert watch(NOW_S + SEAL_S_MAX + 2).exit_code == 0


def test_a_server_that_wants_it_slower_gets_it(server: TileServer, watch: Watcher) -> None:
    """Waits as told; past a limit the rest is left to the next round, and said so."""
    server.refusals = [429, 503]
    assert watch().exit_code == 0
    assert watch.slept == [7, 7]
    watch.limits = AskLimits(waits_max=2, again_max=0)
    server.runs("n1", "n2")
    server.refusals = [200, 429, 429, 429]
    report = watch()
    assert report.exit_code == 0
    assert any("1 run is not asked" in notice for notice in report.notices)
    server.requests.clear()
    assert watch().notices == []
    assert [path for path in server.requests if "/v1/" in path] == ["/v1/workspace-runs/wsr_n2"]


def test_a_key_that_may_not_read_is_told_and_hides_nothing(server: TileServer, watch: Watcher) -> None:
    """Exit 2, but what the log itself shows is found all the same."""
    watch.key = "cn_other"
    report = watch()
    assert (report.exit_code, report.size) == (2, 600)
    assert "audit:read" in report.unreadable[0]
    server.log.entries.append(run_entry("r0", 12))
    assert watch().exit_code == 1


def grown(server: TileServer, at: int) -> None:
    """Another history from some entry on, longer than the first."""
    server.log = GrowingLog(server.log.key, server.log.entries[:at])
    server.runs(*(f"o{number}" for number in range(200)))
    while len(server.log.entries) < 620:
        server.log.entries.append(stream_entry("org_a", len(server.log.entries)))


def test_a_log_that_goes_on_from_another_history_has_forked(server: TileServer, watch: Watcher) -> None:
    """The entry is named, both signed checkpoints are kept, and it stays found when the log goes back."""
    assert watch().exit_code == 0
    before, honest = server.log.note(), server.log
    grown(server, 411)
    report = watch()
    assert report.findings[0].code == "E_LOG_FORK"
    assert "Entry 411" in report.findings[0].message
    assert report.size == 600
    [theirs] = (watch.folder / "forks").glob("*.theirs")
    assert theirs.read_bytes() == server.log.note()
    assert theirs.with_suffix(".ours").read_bytes() == before
    server.log = honest
    later = watch()
    assert codes(later) == ["E_LOG_FORK"]
    assert theirs.name in later.findings[0].message


def test_another_root_at_the_remembered_size_is_a_fork(server: TileServer, watch: Watcher) -> None:
    """Two signed roots of one size contradict, whatever the tiles say."""
    assert watch().exit_code == 0
    server.log.entries[-1] = run_entry("x", 1)
    report = watch()
    assert codes(report)[0] == "E_LOG_FORK"
    assert "two roots" in report.findings[0].message


def test_a_shrinking_log_is_found_and_told_apart(server: TileServer, watch: Watcher) -> None:
    """An older state of the same history is no second one, but still no honest log."""
    assert watch().exit_code == 0
    entries = server.log.entries
    server.log = GrowingLog(LOG_KEY, entries[:500])
    older = watch()
    assert codes(older) == ["E_LOG_FORK"]
    assert "stale cache" in older.findings[0].message
    server.log = GrowingLog(LOG_KEY, entries)
    assert watch().exit_code == 0
    server.log = GrowingLog(LOG_KEY, [*entries[:499], run_entry("x", 1)])
    assert "another history" in watch().findings[0].message
    server.log = GrowingLog(LOG_KEY, entries)
    assert codes(watch()) == ["E_LOG_FORK"]


def test_entries_that_are_not_those_that_were_signed_are_found(server: TileServer, watch: Watcher) -> None:
    """At the first start and later; nothing of them is taken for verified."""
    server.replaced["tile/entries/001"] = b""
    assert codes(watch()) == ["E_LOG_FORK"]
    honest = serve_path(server, "tile/entries/000")
    server.replaced = {"tile/entries/001": honest}
    report = watch()
    assert codes(report) == ["E_LOG_FORK"]
    assert "not those that it signed" in report.findings[0].message
    assert report.size == 0
    server.replaced = {}
    assert watch().exit_code == 0
    server.runs("n1")
    server.replaced = {"tile/entries/002.p/90": serve_path(server, "tile/entries/000.p/90")}
    report = watch()
    assert "not those that it signed" in report.findings[0].message
    assert not (watch.folder / "forks").exists()
    server.replaced = {}
    assert (watch().exit_code, watch().size) == (0, 602)


def serve_path(server: TileServer, path: str) -> bytes:
    """The honest bytes of a path."""
    return server.answer(f"/log/{path}", "")[1]


def test_a_partial_bundle_that_is_gone_is_read_from_the_full_one(server: TileServer, watch: Watcher) -> None:
    """The log grew between the checkpoint and the bundle, and keeps only full ones."""
    server.note, server.keeps_partials = server.log.note(), False
    server.runs(*(f"n{number}" for number in range(100)))
    assert watch().size == 600
    assert "/log/tile/entries/002" in server.requests
    server.note = None
    assert watch().size == 800


def test_a_change_of_key_is_followed_by_who_trusts_it(server: TileServer, watch: Watcher) -> None:
    """The entry is told as long as the policy lacks the key; after that the old one counts no more."""
    new = signer(ORIGIN, "new log")
    server.log.entries.append(key_entry(new, 601))
    server.note = server.log.note(None, LOG_KEY, new)
    report = watch()
    assert report.exit_code == 0
    assert new.verifier_key in report.notices[0]
    server.runs("later")
    server.note = server.log.note(None, new)
    refused = watch()
    assert (refused.exit_code, refused.size) == (2, 601)
    assert "crownest policy" in refused.unreadable[0]
    watch.policy = format_policy(new.verifier_key, retired={LOG_KEY.verifier_key: 601})
    accepted = watch()
    assert (accepted.exit_code, accepted.size, accepted.notices) == (0, 603, [])
    server.runs("forged")
    server.note = server.log.note(None, LOG_KEY)
    assert codes(watch()) == ["E_KEY_RETIRED"]


def test_cosignatures_are_told_and_checked(server: TileServer, watch: Watcher) -> None:
    """Who cosigned, when it is too few, and when one does not fit."""
    w1, w2 = signer("witness.example/w1", "w1"), signer("witness.example/w2", "w2")
    keys = {"w1": str(witness_key(w1)), "w2": str(witness_key(w2))}
    watch.policy = format_policy(LOG_KEY.verifier_key, witnesses=keys, quorum="w1")
    assert any("Fewer witnesses" in notice for notice in watch().notices)
    server.note = cosigned(server.log.note(), w1, w2)
    report = watch()
    assert (report.exit_code, report.cosigned, report.notices) == (0, ["w1", "w2"], [])
    assert (watch.folder / "checkpoint").read_bytes() == server.note
    line = sign_cosignature("another text\n", NOW_S, w1)
    server.note = server.log.note() + f"{line}\n".encode()
    assert codes(watch()) == ["E_WITNESS_SIG"]


def test_what_cannot_be_read_is_said_and_nothing_is_forgotten(server: TileServer, watch: Watcher) -> None:
    """A stranger's key, no checkpoint, another log, a dead address: exit 2, and the folder stays."""
    assert watch().exit_code == 0
    for note in (b"", b"nonsense", server.log.note(None, signer(ORIGIN, "thief"))):
        server.note = note
        report = watch()
        assert (report.exit_code, report.size) == (2, 600)
    other = signer("other.example/log", "o")
    watch.policy += b"log " + other.verifier_key.encode() + b"\n"
    server.note = GrowingLog(other).grow(700).note()
    assert "a folder for each log" in watch().unreadable[0]
    server.note, server.url = None, "http://127.0.0.1:9"
    assert watch().exit_code == 2


def test_a_mirror_is_the_tile_directory(server: TileServer, watch: Watcher, tmp_path: Path) -> None:
    """The bytes are those of the log's own tiles, while it grows too, and proofs can be made from them."""
    watch.mirror = tmp_path / "mirror"
    for extra in ((), ("n1",), tuple(f"m{number}" for number in range(100))):
        server.runs(*extra)
        assert watch().exit_code == 0
    size = len(server.log.entries)
    for tile in hash_tiles(size):
        assert (watch.mirror / tile.path()).read_bytes() == serve_path(server, tile.path())
    files = {str(path.relative_to(watch.mirror)) for path in watch.mirror.rglob("*") if path.is_file()}
    assert "tile/entries/002" in files
    assert not any(name.startswith("tile/entries/002.p") for name in files)
    tree = TileTree(size, lambda tile: (watch.mirror / tile.path()).read_bytes())
    path = inclusion_proof(601, size, tree.subtree)
    assert verify_inclusion(601, size, leaf_hash(server.log.entries[601]), path, server.log.checkpoint().root)
    assert (watch.mirror / "checkpoint").read_bytes() == server.log.note()


def test_a_mirror_that_comes_later_or_was_damaged_is_made_whole(
    server: TileServer, watch: Watcher, tmp_path: Path
) -> None:
    """It is written from the entries that the folder has."""
    watch()
    watch.mirror = tmp_path / "mirror"
    watch()
    (watch.mirror / "tile/0/000").write_bytes(b"torn")
    watch()
    assert (watch.mirror / "tile/0/000").read_bytes() == serve_path(server, "tile/0/000")


def test_a_round_that_was_cut_off_is_made_again(server: TileServer, watch: Watcher) -> None:
    """Entries behind the checkpoint are cut off at the next start."""
    watch()
    entries = watch.folder / "entries"
    whole = entries.read_bytes()
    entries.write_bytes(whole + b"\x00\x07half")
    server.runs("n1")
    assert (watch().exit_code, watch().size) == (0, 602)
    assert entries.read_bytes().startswith(whole)


@pytest.mark.parametrize("name", ["checkpoint", "entries", "rounds.json"])
def test_a_damaged_folder_is_refused(watch: Watcher, name: str) -> None:
    """What was remembered must not silently become something else."""
    watch()
    path = watch.folder / name
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(StateError, match="backup"):
        watch()


def test_one_monitor_uses_a_folder(watch: Watcher) -> None:
    """A second one is told so at once."""
    with open_following(watch.folder), pytest.raises(Locked), open_following(watch.folder):
        pass


def test_an_empty_log_is_well(tmp_path: Path) -> None:
    """Size 0 has a root and no tile."""
    with serving_tiles(GrowingLog()) as server:
        report = Watcher(server, tmp_path, mirror=tmp_path / "mirror")()
        assert (report.exit_code, report.size) == (0, 0)
        server.runs("a")
        assert Watcher(server, tmp_path)().size == 2


def test_the_first_look_reads_any_size(tmp_path: Path) -> None:
    """Around the borders of tiles the root is that of the tree."""
    for size in (1, 255, 256, 257, 512):
        with serving_tiles(GrowingLog().grow(0)) as server:
            server.log.entries += [stream_entry("org_a", number + 1) for number in range(size)]
            tree = CompactRange()
            for entry in server.log.entries:
                tree.append(leaf_hash(entry))
            watch = Watcher(server, tmp_path / str(size), mirror=tmp_path / f"m{size}")
            assert (watch().size, watch.folder.is_dir()) == (size, True)


@pytest.mark.parametrize("url", ["ftp://x", "file:///etc/passwd", "http://127.0.0.1:9", "http://[", "x"])
def test_an_address_that_does_not_answer_is_unreadable(url: str) -> None:
    """Files and other schemes are never opened."""
    with pytest.raises(Unreadable):
        Web().get(url, 10)


def test_an_answer_is_bounded_in_bytes_and_in_time(server: TileServer) -> None:
    """Too long, and too slow."""
    with pytest.raises(Unreadable, match="longer than 10 bytes"):
        Web().get(f"{server.url}/log/checkpoint", 10)
    with pytest.raises(Unreadable, match="takes longer"):
        Web(limits=FetchLimits(whole_s=-1)).get(f"{server.url}/log/checkpoint", 10_000)


def test_a_log_that_does_not_hand_out_what_it_signed_is_unreadable(
    server: TileServer, watch: Watcher
) -> None:
    """A missing bundle, an address without a log, a server in trouble: nothing is taken for verified."""
    server.note = server.log.fork(600).grow(700).note()
    report = watch()
    assert (report.exit_code, report.size) == (2, 0)
    assert "does not hand out" in report.unreadable[0]
    with pytest.raises(Unreadable, match="begun"):
        TileLog(Web(), f"{server.url}/v1").checkpoint()
    server.note, server.refusals = None, [500]
    report = watch()
    assert (report.exit_code, report.size, report.findings) == (2, 600, [])
    assert "500" in report.unreadable[0]


def test_a_checkpoint_of_another_name_than_its_key_is_unreadable(server: TileServer, watch: Watcher) -> None:
    """Signed by the key of the policy, but for another log, or no checkpoint at all."""
    for text in ("other.example\n1\n" + "A" * 43 + "=\n", "a text\n"):
        server.note = sign_note(text, LOG_KEY)
        assert watch().exit_code == 2


def test_findings_are_told_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is counted, so that a log of garbage fills no memory."""
    monkeypatch.setattr("witness.history.FINDINGS_MAX", 3)
    history = History(ORIGIN)
    for _ in range(5):
        history.add(b"garbage")
    assert (len(history.findings), history.findings_left_out, history.size) == (3, 2, 5)


def test_an_answer_that_breaks_off_or_points_elsewhere_is_not_followed() -> None:
    """Fewer bytes than announced are unreadable; a redirect is a status like any other."""
    with RecordingServer().serving() as rogue:
        rogue.routes["GET /short"] = lambda _: Reply(200, b"short", {"content-length": "100"})
        rogue.routes["GET /cut"] = lambda _: Reply(200, parts=[b"x", DROP])
        rogue.routes["GET /away"] = lambda _: Reply(302, b"", {"location": f"{rogue.url}/short"})
        for path in ("short", "cut"):
            with pytest.raises(Unreadable):
                Web().get(f"{rogue.url}/{path}", 1000)
        assert Web().get(f"{rogue.url}/away", 1000).status == 302
    assert [request.path for request in rogue.requests] == ["/short", "/cut", "/away"]
