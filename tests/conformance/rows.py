"""Rows of the route tables as rules: the status, the envelope, and two mutants each."""

from __future__ import annotations

from collections.abc import Callable

from tests.conformance import mutants
from tests.conformance.proxy import Mutation
from tests.conformance.registry import add
from tests.conformance.target import Target, must
from tests.conformance.wire import Answer

JSON = "application/json"
PAGE = ("data", "hasMore")
Call = Callable[[Target], Answer]


def row(
    clause: str,
    route: str,
    call: Call,
    status: int,
    keys: tuple[str, ...],
    *,
    name: str,
    needs: str = "",
    on: str = "",
    broken_by: dict[str, Mutation] | None = None,
) -> None:
    """A JSON route: its status, and the keys that its body must have."""

    def check(server: Target) -> None:
        answer = call(server)
        must(answer.status == status, f"{answer.status} instead of {status}: {answer.body[:200]!r}")
        must((answer.header("content-type") or "").startswith(JSON), "the answer is not application/json")
        body = answer.json
        missing = [key for key in keys if key not in body]
        must(not missing, f"no {', '.join(missing)} in {sorted(body)}")
        if keys == PAGE:
            must(isinstance(body["data"], list) and isinstance(body["hasMore"], bool), "no page")
            must(
                ("nextCursor" in body) == body["hasMore"] or "nextSeq" in body or "/events" in route,
                "a lost cursor",
            )

    other = 202 if status != 202 else 200
    broken = {
        f"{other} instead of {status}": mutants.status(route, other),
        f"without {keys[0]}": mutants.renamed(route, keys[0]),
        "text/plain": mutants.header(route, "content-type", "text/plain", mutants.is_ok),
        **(broken_by or {}),
    }
    add(
        f"rule_{_slug(clause)}_{name}",
        clause,
        f"{route} answers {status} {_told(keys)}",
        check=check,
        broken_by=broken,
        needs=needs,
        on=on,
    )


def raw(
    clause: str, route: str, call: Call, content_type: str, begins: bytes, *, name: str, needs: str = ""
) -> None:
    """A route that answers 200 with something else than JSON."""

    def check(server: Target) -> None:
        answer = call(server)
        must(answer.status == 200, f"{answer.status} instead of 200: {answer.body[:200]!r}")
        found = answer.header("content-type") or ""
        must(found.startswith(content_type), f"{found} instead of {content_type}")
        must(answer.body.startswith(begins), f"the body begins with {answer.body[:40]!r}")

    broken = {
        "201 instead of 200": mutants.status(route, 201),
        "another content type": mutants.header(route, "content-type", "image/png", mutants.is_ok),
    }
    if begins:
        broken["an empty body"] = mutants.empty(route, 200)
    add(
        f"rule_{_slug(clause)}_{name}",
        clause,
        f"{route} answers 200 {content_type}",
        check=check,
        broken_by=broken,
        needs=needs,
    )


def _slug(clause: str) -> str:
    return clause.replace(".", "_")


def _told(keys: tuple[str, ...]) -> str:
    return "a page" if keys == PAGE else "{" + ", ".join(keys) + "}"
