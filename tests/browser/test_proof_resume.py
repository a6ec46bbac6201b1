"""A check whose connection breaks goes on where it stopped, and comes to the verdict that it would have."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from playwright.sync_api import Browser, Page, expect

from tests.browser.driven import new_context, sign_in
from tests.browser.log_kit import Recording, out
from tests.browser.proof_figures import wait_for_log
from tests.browser.proof_panel import ProofPanel, open_panel
from tests.browser.samples import FINISH_S_MAX, Site
from tests.cli.real_server import serving

CHECK_MS_MAX = 90_000
PIECE_BYTES = 16 * 1024
HANDED_OVER_S = 0.2
"""A pause before a cut: what a browser has not handed over when a connection breaks, it drops, and then no
try need bring the check further."""
MANY_EVENTS = 12_000
"""More than a connection holds between a server that was killed and who reads slowly."""


@dataclass
class CuttingProxy:
    """Hands bytes through to a port, and cuts connections that ask for what is watched."""

    port: int
    watched: bytes = b"/proof/bundle HTTP"
    cuts: list[int] = field(default_factory=list[int])
    """After how many bytes of the answer each next watched connection is cut."""
    pace_s: float = 0.0
    """A pause before each piece of a watched answer."""
    asked: int = 0

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        """Its address."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            listener.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = listener.accept()[0]
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """One request for each connection, so that what is watched is known."""
        with client, contextlib.suppress(OSError):
            head = client.recv(64 * 1024)
            line = head.partition(b"\r\n")[0]
            with socket.socket() as server:
                server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE_BYTES)
                server.connect(("127.0.0.1", self.port))
                server.sendall(head.replace(b"onnection: keep-alive", b"onnection: close", 1))
                is_watched = self.watched in line
                left = self._cut(is_watched=is_watched)
                while left > 0 and (piece := server.recv(min(PIECE_BYTES, left))):
                    if is_watched:
                        time.sleep(self.pace_s)
                    client.sendall(piece)
                    left -= len(piece)
                if left <= 0:
                    time.sleep(HANDED_OVER_S)

    def _cut(self, *, is_watched: bool) -> int:
        self.asked += is_watched
        return self.cuts.pop(0) if is_watched and self.cuts else 1 << 40


def recorded(site: Site, events: int) -> str:
    """A finished run of so many lines."""
    recording = Recording(site.http, site.create("make", template="external"))
    for start in range(0, events, 500):
        recording.write(*(out(f"line {n}\n") for n in range(start, min(events, start + 500))))
    recording.finish()
    return recording.run_id


@contextlib.contextmanager
def panel_behind(browser: Browser, proxy: CuttingProxy, key: str, run_id: str) -> Iterator[ProofPanel]:
    """The run's page, opened through the proxy. A browser says of each cut that it was one."""
    with proxy.serving() as url:
        context = new_context(browser, url)
        sign_in(context, key)
        page = context.new_page()
        panel = open_panel(page, run_id)
        wait_for_log(page)
        yield panel
        context.close()


def assert_verified(panel: ProofPanel, losses: int) -> None:
    """It ends well, and says how often the connection was lost."""
    expect(panel.section).to_have_attribute("data-state", "verified", timeout=CHECK_MS_MAX)
    words = "1 lost connection." if losses == 1 else f"{losses} lost connections."
    expect(panel.section).to_contain_text(words)
    assert panel.rows("bad") == []


def test_a_bundle_that_is_cut_at_many_places_is_judged_as_a_whole(browser: Browser, site: Site) -> None:
    """Inside headers, records, payloads, and at the end; each time it goes on behind what it had."""
    run_id = recorded(site, 40)
    size = len(site.http.get(f"/v1/workspace-runs/{run_id}/proof/bundle").content)
    proxy = CuttingProxy(_port(site.url))
    with panel_behind(browser, proxy, site.key, run_id) as panel:
        in_the_head = [0, 100, 250]  # a fourth answer without bytes in a row would be taken for an empty one
        proxy.cuts = [*in_the_head, *range(600, size, 2503), size - 1]
        losses = len(proxy.cuts)
        panel.button.click()
        assert_verified(panel, losses)
        assert proxy.asked == losses + 1


def test_a_log_that_is_cut_is_compared_as_a_whole(browser: Browser, site: Site) -> None:
    """The same for the events as they are sent beside it."""
    run_id = recorded(site, 40)
    proxy = CuttingProxy(_port(site.url), watched=b"/events HTTP")
    with panel_behind(browser, proxy, site.key, run_id) as panel:
        proxy.cuts = [0, 400, 1000, 2222, 3000]
        panel.button.click()
        assert_verified(panel, 5)
        assert panel.row("As sent")[0] == "ok"


def test_what_changed_meanwhile_is_never_joined(browser: Browser, site: Site) -> None:
    """The run is redacted while the connection is lost: the check begins anew, with the record as it is."""
    recording = Recording(site.http, site.create("make", template="external"))
    recording.write(*(out(f"line {n}\n") for n in range(200)))
    recording.finish()
    proxy = CuttingProxy(_port(site.url))
    with panel_behind(browser, proxy, site.key, recording.run_id) as panel:
        proxy.cuts = [60_000, 0, 0, 0]
        panel.button.click()
        expect(panel.section).to_contain_text("The connection was lost", timeout=CHECK_MS_MAX)
        site.redact(recording.run_id, "stdout", "ticket 7")
        expect(panel.section).to_have_attribute("data-state", "redacted", timeout=CHECK_MS_MAX)
        assert panel.rows("bad") == []


def test_a_server_that_is_restarted_in_the_middle_is_asked_on(browser: Browser, tmp_path: Path) -> None:
    """Killed while it sends, and back on the same port."""
    with serving(tmp_path) as server:
        headers = {"authorization": f"Bearer {server.key}"}
        with httpx2.Client(base_url=server.url, headers=headers, timeout=FINISH_S_MAX) as http:
            run_id = recorded(Site(server.url, server.key, http), MANY_EVENTS)
        proxy = CuttingProxy(_port(server.url), pace_s=0.03)
        with panel_behind(browser, proxy, server.key, run_id) as panel:
            panel.button.click()
            expect(panel.title).to_contain_text("Checking event", timeout=CHECK_MS_MAX)
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
            expect(panel.section).to_contain_text("and reading goes on", timeout=CHECK_MS_MAX)
            _checked_by_the_next_life(panel, tmp_path, proxy.port)


def _checked_by_the_next_life(panel: ProofPanel, folder: Path, port: int) -> None:
    with serving(folder, port):
        expect(panel.section).to_have_attribute("data-state", "verified", timeout=CHECK_MS_MAX)
        assert panel.rows("bad") == []
        expect(panel.section.locator(".verdict p span")).to_contain_text("lost connection")


def test_a_server_that_stays_away_ends_the_check(page: Page, site: Site) -> None:
    """After a bounded number of tries, and it says nothing about the record."""
    run_id = recorded(site, 3)
    proxy = CuttingProxy(_port(site.url))
    browser = page.context.browser
    assert browser is not None
    with panel_behind(browser, proxy, site.key, run_id) as panel:
        proxy.cuts = [0] * 1000
        panel.button.click()
        expect(panel.section).to_have_attribute("data-state", "unfinished", timeout=CHECK_MS_MAX)
        expect(panel.section).to_contain_text("This says nothing about the record")
        assert proxy.asked < 20


def _port(url: str) -> int:
    return int(url.rsplit(":", 1)[1])
