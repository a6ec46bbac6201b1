"""Two organisations with two projects each on one server, and whoever asks there."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2

from runs.access import ALL_SCOPES, OPERATOR_SCOPES
from tests.isolation.calls import Answer, Call, send
from tests.isolation.things import Maker
from tests.serving import FINISH_S_MAX, Running

UNCOUNTED_RECORDS = ("api_key_use",)
"""When a key was last used is written down whatever it asked for."""


@dataclass
class Tenant:
    """An organisation: its first key, and who makes things in each of its projects."""

    org_id: str
    full: httpx2.Client
    here: Maker
    there: Maker


@dataclass
class World:
    """Everybody who may ask, and how many requests they have sent."""

    running: Running
    home: Tenant
    stranger: Tenant
    operator: httpx2.Client
    revoked: httpx2.Client
    nobody: httpx2.Client
    restricted: httpx2.Client
    """Every scope of the organisation, but only in its other project."""
    second: httpx2.Client
    """Another key with every scope of the same organisation."""
    operator_restricted: httpx2.Client
    """Every scope there is, the operator's too, but only in one project."""
    sent: int = 0
    rested: str = ""
    """`effects` when the server last came to rest."""
    _narrow: dict[frozenset[str], httpx2.Client] = field(default_factory=dict)
    _version: int = -1
    _digest: str = ""

    def __post_init__(self) -> None:
        path = self.running.data_dir / "log.sqlite"
        self._database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)

    def send(self, http: httpx2.Client, call: Call) -> Answer:
        """Send, and count."""
        self.sent += 1
        return send(http, call)

    def without(self, owner: httpx2.Client, *scopes: str) -> httpx2.Client:
        """A key of the owner's organisation with each of the owner's scopes but these."""
        lacking = frozenset((*scopes, "operator" if owner is self.operator else ""))
        if lacking not in self._narrow:
            held = ALL_SCOPES if owner is self.operator else ALL_SCOPES - OPERATOR_SCOPES
            secret = new_key(owner, sorted(held - set(scopes)))[1]
            self._narrow[lacking] = self.client(secret)
        return self._narrow[lacking]

    def client(self, secret: str | None) -> httpx2.Client:
        """A client of the server with this key, or with none."""
        return client_of(self.running.url, secret)

    def effects(self) -> str:
        """A digest of everything that is stored, but for when keys were used: equal if nothing happened."""
        (version,) = self._database.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self._version, self._digest = version, _digest(self._database)
        return self._digest

    def close(self) -> None:
        """Close every client."""
        self._database.close()
        everybody = (
            self.home.full, self.stranger.full, self.revoked, self.nobody, self.restricted, self.second,
            self.operator_restricted, *self._narrow.values(),
        )  # fmt: skip
        for http in everybody:
            http.close()


def _digest(database: sqlite3.Connection) -> str:
    found = hashlib.sha256()
    names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for row in database.execute("SELECT stream, size FROM streams ORDER BY stream"):
        found.update(repr(row).encode())
    for table in sorted({*names} - {"records"}):
        found.update(repr(database.execute(f"SELECT count(*) FROM {table}").fetchone()).encode())
    for row in database.execute("SELECT kind, id, doc FROM records ORDER BY kind, id"):
        if row[0] not in UNCOUNTED_RECORDS:
            found.update(repr(row).encode())
    return found.hexdigest()


def client_of(url: str, secret: str | None) -> httpx2.Client:
    """A client with this key, or with none."""
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    return httpx2.Client(base_url=url, headers=headers, timeout=FINISH_S_MAX)


def new_key(http: httpx2.Client, scopes: list[str], **fields: Any) -> tuple[str, str]:
    """A new key's id and secret."""
    answer = http.post("/v1/api-keys", json={"name": "matrix", "scopes": scopes, **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()["apiKey"]["id"], answer.json()["secret"]


@contextlib.contextmanager
def world(running: Running) -> Iterator[World]:
    """Two organisations made as their operator makes them, and keys of each kind."""
    home, stranger = (_tenant(running, name) for name in ("Home", "Stranger"))
    scopes = sorted(ALL_SCOPES - OPERATOR_SCOPES)
    revoked_id, revoked = new_key(home.full, scopes)
    assert home.full.delete(f"/v1/api-keys/{revoked_id}").status_code == 200
    restricted = new_key(home.full, scopes, projectIds=[home.there.project_id])[1]
    made = World(
        running,
        home,
        stranger,
        operator=running.http,
        revoked=client_of(running.url, revoked),
        nobody=client_of(running.url, None),
        restricted=client_of(running.url, restricted),
        second=client_of(running.url, new_key(home.full, scopes)[1]),
        operator_restricted=client_of(running.url, _operator_restricted(running.http)),
    )
    try:
        yield made
    finally:
        made.close()


def _operator_restricted(operator: httpx2.Client) -> str:
    first = operator.get("/v1/projects").json()["data"][0]["id"]
    return new_key(operator, sorted(ALL_SCOPES), projectIds=[first])[1]


def _tenant(running: Running, name: str) -> Tenant:
    answer = running.http.post("/v1/orgs", json={"name": name, "plan": "enterprise"})
    assert answer.status_code == 201, answer.text
    found = answer.json()
    full = client_of(running.url, found["secret"])
    org_id, first = found["organization"]["id"], found["project"]["id"]
    second = full.post("/v1/projects", json={"name": "other"}).json()["project"]["id"]
    return Tenant(org_id, full, Maker(full, org_id, first), Maker(full, org_id, second))
