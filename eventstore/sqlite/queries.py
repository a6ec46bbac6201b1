"""Owns reading the `.sql` files beside it: SQL stays SQL, and each statement has a name."""

from __future__ import annotations

import re
from importlib.resources import files

from eventstore.views import VIEWS

_HEADING = re.compile(r"^-- (\w+) --\n", re.MULTILINE)
_COMMENT = re.compile(r"^--.*\n", re.MULTILINE)


def _load(name: str) -> dict[str, str]:
    """The statements of one file by name, without their final semicolon."""
    _, *parts = _HEADING.split(files("eventstore.sqlite").joinpath(name).read_text(encoding="utf-8"))
    names, texts = parts[::2], parts[1::2]
    assert len(set(names)) == len(names), f"{name}: a statement's name is used twice"
    bare = [_COMMENT.sub("", text).strip().removesuffix(";") for text in texts]
    return dict(zip(names, bare, strict=True))


LOG = _load("log.sql")
"""The statements on streams, events, claims, records and checkpoints."""

GLOBAL = _load("global_log.sql")
"""The statements on the global log."""

VIEW = {
    view: {name: text.replace("{view}", view) for name, text in _load("views.sql").items()} for view in VIEWS
}
"""The statements on each view."""

_READ = f"{LOG['place']}\n{LOG['read']}"
READ = f"{_READ}\n{LOG['up_to_limit']}"
READ_PUBLIC = f"{_READ}\n{LOG['public']}\n{LOG['up_to_limit']}"
_PAGE = f"{LOG['place']}\n{LOG['page']}"
READ_PAGE = f"{_PAGE}\n{LOG['read_page']}"
FRAME_NDJSON = f"{_PAGE}\n{LOG['shown']}\n{LOG['frame_ndjson']}"
FRAME_SSE = f"{_PAGE}\n{LOG['shown']}\n{LOG['frame_sse']}"
