"""The client's methods of accounts: keys, projects, organisations, their people (CONTRACT §2, §2.1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from client.errors import BadAnswer
from client.follow import follow
from client.shapes import ApiKey, Event, EventPage, JsonObject, Organization, Page, Project, Usage, User
from client.wire import Methods, at, given, idempotency, objects, page_of, set_fields, unwrapped

KEYS = "/v1/api-keys"
PROJECTS = "/v1/projects"
ORGANIZATIONS = "/v1/orgs"
LINKS = "/auth/links"


class AccountMethods(Methods):
    """Who may do what, and who changed it."""

    def create_key(
        self, name: str, scopes: Sequence[str], *, project_ids: Sequence[str] = ()
    ) -> tuple[ApiKey, str]:
        """POST /v1/api-keys: the key and its secret, shown this once; no idempotency key (CONTRACT §2)."""
        body = set_fields(name=name, scopes=list(scopes), projectIds=list(project_ids) or None)
        answer = self._transport.json("POST", KEYS, body=body)
        key = cast("ApiKey", unwrapped(answer, "apiKey", "id"))
        return key, str(unwrapped({"answer": answer}, "answer", "secret")["secret"])

    def list_keys(self, *, limit: int | None = None, cursor: str | None = None) -> Page[ApiKey]:
        """GET /v1/api-keys: newest first, revoked ones too, never a secret."""
        answer = self._transport.json("GET", KEYS, params=given(limit=limit, cursor=cursor))
        return cast("Page[ApiKey]", page_of(answer, cursor))

    def get_key(self, key_id: str) -> ApiKey:
        """GET /v1/api-keys/{id}."""
        return cast("ApiKey", unwrapped(self._transport.json("GET", at(KEYS, key_id)), "apiKey", "id"))

    def revoke_key(self, key_id: str) -> ApiKey:
        """DELETE /v1/api-keys/{id}: for good; twice changes nothing."""
        return cast("ApiKey", unwrapped(self._transport.json("DELETE", at(KEYS, key_id)), "apiKey", "id"))

    def sign_in_link(self) -> tuple[str, str]:
        """POST /auth/links: a link that signs a browser in as this key, once, and when it runs out."""
        answer = {"link": self._transport.json("POST", LINKS)}
        link = unwrapped(answer, "link", "url")
        url = str(link["url"])
        if not url.startswith(("https://", "http://")):
            raise BadAnswer("The server's link is no web address.")
        return url, str(link.get("expiresAt", ""))

    # ---- projects

    def list_projects(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Project]:
        """GET /v1/projects: those that the key sees; needs no scope."""
        answer = self._transport.json("GET", PROJECTS, params=given(limit=limit, cursor=cursor))
        return cast("Page[Project]", page_of(answer, cursor))

    def get_project(self, project_id: str) -> Project:
        """GET /v1/projects/{id}."""
        return _project(self._transport.json("GET", at(PROJECTS, project_id)))

    def create_project(self, name: str, *, idempotency_key: str | None = None) -> Project:
        """POST /v1/projects."""
        headers = idempotency(idempotency_key)
        return _project(self._transport.json("POST", PROJECTS, body={"name": name}, headers=headers))

    def update_project(
        self,
        project_id: str,
        *,
        name: str | None = None,
        limits: Mapping[str, int | None] | None = None,
    ) -> Project:
        """PATCH /v1/projects/{id}: what is not given stays; a limit of None is lifted."""
        body = set_fields(name=name, limits=dict(limits) if limits else None)
        return _project(self._transport.json("PATCH", at(PROJECTS, project_id), body=body))

    # ---- organisations

    def list_organizations(self) -> list[Organization]:
        """GET /v1/orgs: the key's own; with the operator's key all of them, oldest first."""
        return cast("list[Organization]", objects(self._transport.json("GET", ORGANIZATIONS)))

    def get_organization(self, org_id: str) -> Organization:
        """GET /v1/orgs/{id}."""
        return _organization(self._transport.json("GET", at(ORGANIZATIONS, org_id)))

    def create_organization(self, name: str, *, plan: str | None = None) -> JsonObject:
        """POST /v1/orgs: `{organization, project, apiKey, secret}`; the secret is shown this once."""
        answer = self._transport.json("POST", ORGANIZATIONS, body=set_fields(name=name, plan=plan))
        _organization(answer)
        return unwrapped({"answer": answer}, "answer", "secret")

    def update_organization(
        self, org_id: str, *, name: str | None = None, plan: str | None = None
    ) -> Organization:
        """PATCH /v1/orgs/{id}: what is not given stays."""
        body = set_fields(name=name, plan=plan)
        return _organization(self._transport.json("PATCH", at(ORGANIZATIONS, org_id), body=body))

    def organization_events(self, org_id: str, *, after_seq: int = 0, limit: int | None = None) -> EventPage:
        """GET /v1/orgs/{id}/events: one page of what happened outside of runs (CONTRACT §6.7)."""
        return self._event_page(at(ORGANIZATIONS, org_id, "events"), after_seq, limit)

    def stream_organization(self, org_id: str, *, after_seq: int = 0) -> Iterator[Event]:
        """The same as a stream that goes on for ever (see `client.follow`)."""
        path = at(ORGANIZATIONS, org_id, "events")
        return follow(lambda last_seq: self._open_events(path, last_seq), after_seq)

    # ---- people

    def list_users(self, org_id: str, *, limit: int | None = None, cursor: str | None = None) -> Page[User]:
        """GET /v1/orgs/{id}/users: newest first, removed ones too."""
        params = given(limit=limit, cursor=cursor)
        answer = self._transport.json("GET", at(ORGANIZATIONS, org_id, "users"), params=params)
        return cast("Page[User]", page_of(answer, cursor))

    def add_user(
        self,
        org_id: str,
        name: str,
        role: str,
        *,
        email: str | None = None,
        idempotency_key: str | None = None,
    ) -> User:
        """POST /v1/orgs/{id}/users; `email` invites the person to sign in."""
        path, headers = at(ORGANIZATIONS, org_id, "users"), idempotency(idempotency_key)
        body = set_fields(name=name, role=role, email=email)
        return _user(self._transport.json("POST", path, body=body, headers=headers))

    def update_user(
        self, org_id: str, user_id: str, *, name: str | None = None, role: str | None = None
    ) -> User:
        """PATCH /v1/orgs/{id}/users/{userId}: what is not given stays."""
        path = at(at(ORGANIZATIONS, org_id, "users"), user_id)
        return _user(self._transport.json("PATCH", path, body=set_fields(name=name, role=role)))

    def remove_user(self, org_id: str, user_id: str) -> User:
        """DELETE /v1/orgs/{id}/users/{userId}: the record stays, with `removedAt`."""
        return _user(self._transport.json("DELETE", at(at(ORGANIZATIONS, org_id, "users"), user_id)))

    # ---- usage

    def usage(self) -> Usage:
        """GET /v1/usage: what was used this month, and the quotas (CONTRACT §8)."""
        answer = self._transport.json("GET", "/v1/usage")
        return cast("Usage", answer | {"period": unwrapped(answer, "period", "start", "end")})


def _project(answer: JsonObject) -> Project:
    return cast("Project", unwrapped(answer, "project", "id"))


def _organization(answer: JsonObject) -> Organization:
    return cast("Organization", unwrapped(answer, "organization", "id"))


def _user(answer: JsonObject) -> User:
    return cast("User", unwrapped(answer, "user", "id"))
