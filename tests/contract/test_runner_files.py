"""Files of a workspace: every operation and every refusal, on every provider."""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from evidence.record import format_time
from runner.files import FileStat
from runner.link import SandboxUnavailable
from tests.requires import need
from tests.runner_kit import Bench, Box, bench, requested, warm_sandbox

pytestmark = pytest.mark.asyncio(loop_scope="module")
LISTING_MAX = 50
FILE_MAX = 100_000


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["bubblewrap", "process"])
async def on(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Bench]:
    """One runner per provider, with small limits."""
    if request.param == "bubblewrap":
        need("bubblewrap")
    folder = tmp_path_factory.mktemp(request.param)
    limits = {
        "listing_entries_max": LISTING_MAX,
        "file_bytes_max": FILE_MAX,
        "workspace_bytes_max": 1 << 20,
        "file_timeout_ms": 3_000,
    }
    async with bench(request.param, folder, **limits) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def box(on: Bench) -> AsyncIterator[Box]:
    """A fresh warm sandbox."""
    async with warm_sandbox(on) as made:
        yield made


async def test_a_file_goes_in_and_comes_out_byte_for_byte(box: Box) -> None:
    """By either form of its path, and commands see the same."""
    content = bytes(range(256)) * 300
    written = await box.runner.write_file(box.id, "a/b/c.bin", content, create_parents=True)
    assert (written.path, written.name, written.size_bytes, written.type) == (
        *("/workspace/a/b/c.bin", "c.bin", len(content), "file"),
    )
    assert written.modified_at_ms > 1_700_000_000_000
    for path in ("a/b/c.bin", "/workspace/a/b/c.bin", "./a//b/../b/c.bin"):
        read = await box.runner.read_file(box.id, path)
        assert (read.content, read.stat) == (content, written)
    assert await box.says("stat -c '%s %a' a/b/c.bin") == f"{len(content)} 644\n"
    assert (await box.runner.write_file(box.id, "empty", b"")).size_bytes == 0
    assert (await box.runner.read_file(box.id, "empty")).content == b""


async def test_a_listing_is_in_order_and_says_what_is_what(box: Box) -> None:
    """Links are followed inside the workspace; what leads out or nowhere is shown as it is."""
    await box.run(
        "mkdir d; echo hello > f; mkfifo p; ln -s d ld; ln -s f lf; ln -s /etc/passwd out; ln -s no lost;"
        "echo x > d/inner"
    )
    listed = await box.runner.list_files(box.id)
    assert [(one.path, one.type) for one in listed] == [
        ("/workspace/d", "directory"),
        ("/workspace/f", "file"),
        ("/workspace/ld", "directory"),
        ("/workspace/lf", "file"),
        ("/workspace/lost", "file"),
        ("/workspace/out", "file"),
        ("/workspace/p", "file"),
    ]
    sizes = {one.name: one.size_bytes for one in listed}
    assert (sizes["f"], sizes["lf"], sizes["d"], sizes["p"]) == (6, 6, 0, 0)
    assert sizes["out"] == len("/etc/passwd")
    assert [one.path for one in await box.runner.list_files(box.id, "/workspace/d")] == ["/workspace/d/inner"]
    # Where a link leads is where its entries are.
    assert [one.path for one in await box.runner.list_files(box.id, "ld")] == ["/workspace/d/inner"]
    await box.run("rm -r *")
    assert await box.runner.list_files(box.id, "/workspace") == []


async def test_the_workspace_itself_can_be_looked_at_but_not_changed(box: Box) -> None:
    """Under all its names."""
    for path in ("", ".", "/workspace", "/workspace/", "x/.."):
        stat = await box.runner.stat_file(box.id, path)
        assert (stat.path, stat.name, stat.type) == ("/workspace", "workspace", "directory")
        assert await box.refused("delete_file", path) == "invalid_request"
        assert await box.refused("write_file", path, b"") == "invalid_request"
        assert await box.refused("make_directory", path) == "invalid_request"
        assert await box.refused("move_file", path, "y") == "invalid_request"
        assert await box.refused("read_file", path) == "invalid_request"


async def test_a_listing_that_is_too_long_is_refused_with_its_limit(box: Box) -> None:
    """The limit itself is still listed."""
    await box.run(f"mkdir d; cd d; touch $(seq {LISTING_MAX})")
    assert len(await box.runner.list_files(box.id, "d")) == LISTING_MAX
    await box.run("touch d/more")
    with pytest.raises(Exception, match=f"more than {LISTING_MAX} entries"):
        await box.runner.list_files(box.id, "d")
    assert await box.refused("list_files", "d") == "invalid_request"


async def test_reading_has_a_limit(box: Box) -> None:
    """The caller's or the runner's, whichever is smaller; a hole in a file counts."""
    await box.run(f"head -c {FILE_MAX} /dev/zero > fits; truncate -s 1T huge; echo 12345 > six")
    assert len((await box.runner.read_file(box.id, "fits")).content) == FILE_MAX
    assert await box.refused("read_file", "huge") == "file_too_large"
    assert (await box.runner.read_file(box.id, "six", 6)).content == b"12345\n"
    assert await box.refused("read_file", "six", 5) == "file_too_large"
    assert await box.refused("read_file", "fits", FILE_MAX - 1) == "file_too_large"
    assert await box.refused("write_file", "new", b"x" * (FILE_MAX + 1)) == "file_too_large"


async def test_writing_replaces_at_once_or_not_at_all(box: Box) -> None:
    """The old content stays where `overwrite` is not given, and so do the permissions where it is."""
    await box.run("echo old > f; chmod 700 f; mkdir d; ln -s f l; mkfifo p; ln -s new dangling")
    assert await box.refused("write_file", "f", b"new", overwrite=False) == "conflict"
    assert await box.says("cat f") == "old\n"
    await box.runner.write_file(box.id, "f", b"new\n", overwrite=True)
    assert await box.says("cat f; stat -c %a f; ls -A") == "new\n700\nd\ndangling\nf\nl\np\n"
    assert (await box.runner.write_file(box.id, "l", b"through\n")).path == "/workspace/f"
    assert await box.says("cat f; readlink l") == "through\nf\n"
    assert (await box.runner.write_file(box.id, "dangling", b"1", overwrite=False)).path == "/workspace/new"
    assert await box.refused("write_file", "d", b"") == "invalid_request"
    assert await box.refused("write_file", "p", b"") == "invalid_request"
    assert await box.refused("write_file", "no/f", b"") == "file_not_found"
    assert await box.refused("write_file", "f/x", b"") == "invalid_request"
    assert await box.refused("write_file", "f/x", b"", create_parents=True) == "invalid_request"


async def test_a_full_workspace_keeps_the_old_file(box: Box) -> None:
    """And no half-written one beside it."""
    if not box.runner.limits["workspaceBytes"].enforced:
        pytest.skip("the workspace of this provider has no limit")
    await box.run("echo old > f; head -c 2000000 /dev/zero > filler 2>/dev/null")
    assert await box.refused("write_file", "f", b"x" * 50_000) == "file_too_large"
    assert await box.says("cat f; ls -A") == "old\nf\nfiller\n"


async def test_deleting_takes_files_links_and_empty_folders(box: Box) -> None:
    """A link is removed and not what it leads to, so one that leads out can be removed as well."""
    await box.run(
        "mkdir d full; touch f full/x; mkfifo p; ln -s full l; ln -s /etc/passwd out; ln -s no lost"
    )
    for path in ("d/", "f", "p", "l", "/workspace/out", "lost"):
        await box.runner.delete_file(box.id, path)
    assert await box.refused("delete_file", "f") == "file_not_found"
    assert await box.refused("delete_file", "full") == "conflict"
    assert await box.says("ls -A . full") == ".:\nfull\n\nfull:\nx\n"


async def test_folders_are_made_with_their_parents_if_that_is_asked_for(box: Box) -> None:
    """As `mkdir -p` does, which is also content with one that exists."""
    assert await box.refused("make_directory", "a/b") == "file_not_found"
    made = await box.runner.make_directory(box.id, "a/b", parents=True)
    assert (made.path, made.type, made.size_bytes) == ("/workspace/a/b", "directory", 0)
    assert (await box.runner.make_directory(box.id, "a/b", parents=True)).path == "/workspace/a/b"
    assert await box.refused("make_directory", "a/b") == "conflict"
    assert (await box.runner.make_directory(box.id, "/workspace/a/c")).name == "c"
    await box.runner.write_file(box.id, "f", b"")
    assert await box.refused("make_directory", "f") == "conflict"
    assert await box.refused("make_directory", "f", parents=True) == "conflict"
    assert await box.refused("make_directory", "f/x", parents=True) == "invalid_request"


async def test_moving_renames_and_replaces_only_if_asked(box: Box) -> None:
    """Files, links and folders."""
    await box.run("echo a > a; echo b > b; mkdir d e full; touch full/x; ln -s /etc/passwd out")
    assert (await box.runner.move_file(box.id, "a", "/workspace/d/a2")).path == "/workspace/d/a2"
    assert await box.refused("move_file", "a", "c") == "file_not_found"
    assert await box.refused("move_file", "d/a2", "b") == "conflict"
    assert await box.says("cat b d/a2") == "b\na\n"
    assert (await box.runner.move_file(box.id, "d/a2", "b", overwrite=True)).size_bytes == 2
    assert await box.says("cat b; ls d") == "a\n"
    assert (await box.runner.move_file(box.id, "full", "moved")).type == "directory"
    assert await box.refused("move_file", "moved", "moved/in/it") == "file_not_found"
    assert await box.refused("move_file", "moved", "moved/it") == "invalid_request"
    assert await box.refused("move_file", "d", "moved", overwrite=True) == "conflict"
    assert await box.refused("move_file", "b", "moved", overwrite=True) == "invalid_request"
    assert await box.refused("move_file", "b", "no/b") == "file_not_found"
    await box.runner.move_file(box.id, "out", "still-a-link")
    assert await box.says("readlink still-a-link") == "/etc/passwd\n"


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/passwd", "/", "..", "../x", "d/../../x", "/workspace/../etc/passwd", "/workspacex/f"),
        *("out", "root/etc/passwd", "up/x", "hop/etc/passwd", "chain"),
    ],
)
async def test_nothing_outside_the_workspace_is_reached(box: Box, path: str) -> None:
    """Neither by a path nor by any chain of links; what exists out there is not even told."""
    await box.run(
        "mkdir d; ln -s /etc/passwd out; ln -s / root; ln -s .. up; ln -s d/../root hop; ln -s l2 chain;"
        "ln -s ../../../../etc/shadow-that-is-not-there l2"
    )
    outside = "path_outside_workspace"
    assert await box.refused("list_files", path) == outside
    assert await box.refused("stat_file", path) == outside
    assert await box.refused("read_file", path) == outside
    assert await box.refused("write_file", path, b"evil") == outside
    assert await box.refused("write_file", f"{path}/x/y", b"evil", create_parents=True) == outside
    assert await box.refused("make_directory", f"{path}/x", parents=True) == outside
    assert await box.refused("delete_file", f"{path}/x") == outside
    assert await box.refused("move_file", f"{path}/x", "here") == outside
    await box.run("touch mine")
    assert await box.refused("move_file", "mine", f"{path}/x") == outside
    assert await box.says("cat mine; ls mine") == "mine\n"


async def test_links_inside_the_workspace_are_followed(box: Box) -> None:
    """Relative ones; what they lead to is named."""
    await box.run(
        "mkdir -p a/b; echo x > a/b/f; ln -s a/b short; ln -s ../../a/b/f a/b/round; ln -s c1 c2; ln -s c2 c1"
    )
    assert (await box.runner.read_file(box.id, "short/round")).stat.path == "/workspace/a/b/f"
    assert await box.refused("read_file", "c1") == "invalid_request"
    assert await box.refused("list_files", "c1/x") in ("invalid_request", "file_not_found")
    assert await box.refused("write_file", "c1", b"") == "invalid_request"


async def test_a_named_pipe_makes_nobody_wait(box: Box) -> None:
    """It is not opened at all: no reader or writer of it is woken up."""
    waiting, _ = await box.start("mkfifo p; echo up; echo content > p; echo written")
    assert (await box.runner.stat_file(box.id, "p")).type == "file"
    assert await box.refused("read_file", "p") == "invalid_request"
    assert await box.refused("list_files", "p") == "invalid_request"
    assert await box.refused("write_file", "p", b"x") == "invalid_request"
    assert not waiting.done()
    assert await box.says("cat p") == "content\n"
    assert (await waiting).exit_code == 0


async def test_hostile_names_break_nothing(box: Box) -> None:
    """Bytes that are no text are shown as U+FFFD; everything else comes back as it is."""
    await box.run(
        r"""touch -- "$(printf 'bad\377name')" "$(printf 'line\nbreak')" "$(printf '\033[31m')" ' ' -rf 'ü'"""
    )
    names = [one.name for one in await box.runner.list_files(box.id)]
    assert sorted(names) == sorted(["bad�name", "line\nbreak", "\x1b[31m", " ", "-rf", "ü"])
    for name in ("line\nbreak", "\x1b[31m", " ", "-rf", "ü"):
        assert (await box.runner.stat_file(box.id, name)).path == f"/workspace/{name}"
        await box.runner.delete_file(box.id, name)
    assert await box.refused("stat_file", "bad�name") == "file_not_found"
    assert await box.refused("stat_file", "nul\0") == "invalid_request"
    assert await box.refused("stat_file", "x" * 256) == "invalid_request"
    assert await box.refused("stat_file", "x/" * 3000) == "invalid_request"
    assert await box.refused("stat_file", "x" * 300_000) == "invalid_request"
    assert await box.refused("read_file", "\udcff") in ("file_not_found", "invalid_request")


async def test_permissions_are_those_of_the_commands(box: Box) -> None:
    """Files are made and read as the sandbox's user."""
    await box.runner.write_file(box.id, "f", b"x")
    assert await box.says("[ -O f ] && echo mine") == "mine\n"
    if box.runner.provider == "process" and os.geteuid() == 0:
        await box.run("mkdir locked; touch locked/f; chmod 000 locked")
        assert await box.refused("read_file", "locked/f") == "invalid_request"
        assert await box.refused("list_files", "locked") == "invalid_request"


async def test_a_command_that_swaps_links_in_never_gets_anything_from_outside(box: Box) -> None:
    """While reads and writes go on, a folder is replaced by a link to the system's and back again."""
    await box.run("mkdir real; echo inside > real/passwd; ln -s /etc link; echo inside > real/hosts")
    swapping, _ = await box.start(
        "echo up; while :; do mv -T real x; mv -T link real; mv -T real link; mv -T x real; done"
    )
    allowed = {b"inside\n"}
    refusals: set[str] = set()
    for _ in range(40):
        try:
            read = await box.runner.read_file(box.id, "real/passwd")
        except Exception as refusal:  # noqa: BLE001  # whichever it is, it says its code
            refusals.add(getattr(refusal, "code", repr(refusal)))
        else:
            assert read.content in allowed
    assert refusals <= {"path_outside_workspace", "file_not_found", "invalid_request"}
    assert not swapping.done()


async def test_operations_at_once_each_get_their_own_answer(box: Box) -> None:
    """More than run at once wait for their turn."""
    stats = await asyncio.gather(
        *(box.runner.write_file(box.id, f"f{n}", b"x" * n) for n in range(20)),
    )
    assert [(one.name, one.size_bytes) for one in stats] == [(f"f{n}", n) for n in range(20)]
    contents = await asyncio.gather(*(box.runner.read_file(box.id, f"f{n}") for n in range(20)))
    assert [len(one.content) for one in contents] == list(range(20))
    assert isinstance(stats[0], FileStat)


async def test_an_operation_without_an_answer_is_given_up(on: Bench) -> None:
    """A command stopped everything it could, the child that lists files among it."""
    if on.runner.provider == "process":
        pytest.skip("it would stop the holder as well, which ends with the sandbox only")
    async with warm_sandbox(on) as box:
        await box.start("echo up; while :; do kill -STOP -1; done")
        with pytest.raises(SandboxUnavailable, match="3000 ms"):
            await _list_again_and_again(box)


async def _list_again_and_again(box: Box) -> None:
    """The child that lists may be faster than the loop that stops it."""
    while True:
        await box.runner.list_files(box.id)


async def test_artifacts_are_collected_on_demand(box: Box) -> None:
    """By either form of the path, with the same refusals as at the end of a run."""
    await box.runner.write_file(box.id, "d/report.xml", b"made", create_parents=True)
    for path in ("d/report.xml", "/workspace/d/report.xml"):
        (asked,) = requested(path)
        report = await box.runner.collect_artifact(box.id, asked, box.on.store, box.on.new_id)
        assert (report.type, report.fields["path"]) == ("artifact_collected", "d/report.xml")
        assert box.on.blobs[str(report.fields["sha256"])] == b"made"
    report = await box.runner.collect_artifact(
        box.id, requested("/etc/passwd")[0], box.on.store, box.on.new_id
    )
    assert report.type == "artifact_error"
    assert report.fields["error"] == {
        "code": "path_outside_workspace",
        "path": "/etc/passwd",
        "message": "/etc/passwd: lies outside the workspace. Give a path relative to it, without '..'.",
    }


async def test_a_time_that_no_calendar_has_is_shown_as_the_nearest(box: Box) -> None:
    """A file system in memory keeps any: what cannot be written down would break every answer about it."""
    for seconds in (99_999_999_999_999, -99_999_999_999_999):
        await box.says(f"python3 -c \"import os; open('odd', 'w'); os.utime('odd', ({seconds}, {seconds}))\"")
        stats = [await box.runner.stat_file(box.id, "odd"), *await box.runner.list_files(box.id, "")]
        for stat in stats:
            assert 1 <= int(format_time(stat.modified_at_ms)[:4]) <= 9999


async def test_folders_are_made_as_deep_as_a_path_can_be_long(box: Box) -> None:
    """Deeper than the interpreter's stack, and not the sandbox's fault."""
    path = "d/" * 1000 + "f"
    assert (await box.runner.write_file(box.id, path, b"x", create_parents=True)).size_bytes == 1
    made = await box.runner.make_directory(box.id, "e/" * 1000, parents=True)
    assert made.type == "directory"
