"""The page's own verifier as a function: its modules run in a real browser, over bytes that a test made."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Page

from api.dashboard.assets import asset_path
from evidence.checkpoint import Checkpoint
from evidence.verdict import Verdict

COMPARED = ("verdict", "code", "clause", "seq", "stream", "size", "root", "notBefore", "notAfter")
"""What both verifiers must say alike; their sentences differ."""

_VERIFY = """
async ({ base, bundle, policy, options }) => {
  const load = (name) => import(`${base}/${name}.js`);
  const { verifyBundle, blame } = await load("verify");
  const { Source } = await load("container");
  const { parseCheckpoint } = await load("checkpoint");
  const { decodeBase64, encodeBase64 } = await load("bytes");
  const bytes = decodeBase64(bundle);
  let at = 0;
  const stream = new ReadableStream({
    pull(controller) {
      if (at >= bytes.length) return controller.close();
      controller.enqueue(bytes.slice(at, (at += 997)));  // no border of anything
    },
  });
  const { pin, shown, ...others } = options;
  const result = await verifyBundle(new Source(stream), decodeBase64(policy), {
    ...others,
    pin: pin === null ? null : parseCheckpoint(pin),
    shown: shown === null ? null : decodeBase64(shown),
  });
  const { contents, checkpoint, stream: id, notBeforeMs, notAfterMs } = result.findings;
  const absent = contents?.absent;
  const time = (ms) => (ms === null ? null : new Date(ms).toISOString());
  const { code, clause, seq } = blame(result);
  return {
    verdict: result.verdict,
    code,
    clause,
    seq: result.verdict === "FAILED" ? seq : (absent.unrecorded()[0] ?? absent.redacted()[0] ?? null),
    stream: id,
    size: checkpoint?.size ?? null,
    root: checkpoint ? encodeBase64(checkpoint.root) : null,
    notBefore: time(notBeforeMs),
    notAfter: time(notAfterMs),
    message: result.error?.message ?? result.unreadable ?? "",
  };
}
"""


@dataclass(frozen=True)
class PageVerifier:
    """Modules of `static/proof`, in a page that may import them."""

    page: Page

    @property
    def base(self) -> str:
        """The folder of the modules."""
        return asset_path("proof/verify.js").rpartition("/")[0]

    def verdict(
        self,
        bundle: bytes,
        policy: bytes,
        *,
        expected_run: str | None = None,
        allow_open: bool = False,
        allow_withheld: bool = False,
        allow_unlogged: bool = False,
        allow_unattested: bool = False,
        strict_time: bool = False,
        pin: Checkpoint | None = None,
        shown: bytes | None = None,
    ) -> dict[str, Any]:
        """What the page says of a bundle: the fields of `COMPARED`, and its message."""
        options = {
            "expectedRun": expected_run,
            "allowOpen": allow_open,
            "allowWithheld": allow_withheld,
            "allowUnlogged": allow_unlogged,
            "allowUnattested": allow_unattested,
            "strictTime": strict_time,
            "pin": None if pin is None else str(pin),
            "shown": None if shown is None else b64encode(shown).decode(),
        }
        given = {
            "base": self.base,
            "bundle": b64encode(bundle).decode(),
            "policy": b64encode(policy).decode(),
            "options": options,
        }
        found: dict[str, Any] = self.page.evaluate(_VERIFY, given)
        return found

    def call(self, source: str, value: object) -> Any:
        """What the JavaScript function `source` answers for `load` (imports a module by name) and `value`."""
        body = source.strip()
        return self.page.evaluate(
            f"async ({{ base, value }}) => ({body})((name) => import(`${{base}}/${{name}}.js`), value)",
            {"base": self.base, "value": value},
        )


def compared(verdict: Verdict) -> dict[str, Any]:
    """The fields of the reference's verdict that the page must say too."""
    fields = verdict.to_dict()
    return {name: fields[name] for name in COMPARED}
