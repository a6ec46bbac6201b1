"""Project secrets: set, listed by name, deleted, and opened for the one run whose environment gets them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eventstore.log import Answer, Append, ExpectedHeadMismatch, NewEvent, Record
from eventstore.views import ViewQuery, ViewRow
from projections.organization import secret_row_id
from runs.access import Principal
from runs.dispatch import Store
from runs.environment import check_env_name
from runs.idempotency import IdempotentRequest
from runs.ids import is_id
from runs.limits import RunLimits
from runs.organization import OrganizationStream, rendered
from runs.refusal import Refusal, not_found
from runs.secret_names import ACTIVE, LISTED_MAX
from runs.secretbox import SecretBox, SecretValue, WrongSecretsKey
from runs.service import Page, list_page

KIND = "secret"
"""The record kind of encrypted values; its id is that of the row in the view `secrets`."""

GONE = b"{}"
"""The record of a deleted secret. It takes the place of the ciphertext in the append of the event: there is
no moment at which one is gone without the other, and no later write could meet a value that was set anew."""


class SecretUnavailable(Exception):
    """A run cannot have a secret that its log names; the message is for the run's owner."""

    def __init__(self, message: str, *, deleted: bool) -> None:
        super().__init__(message)
        self.deleted = deleted


class SecretService:
    """`/v1/projects/{id}/secrets` (CONTRACT §2.1), and the values for execution."""

    def __init__(self, store: Store, box: SecretBox, limits: RunLimits) -> None:
        self._store = store
        self._box = box
        self._limits = limits
        self._stream = OrganizationStream(store)

    def __repr__(self) -> str:
        return f"SecretService({self._box!r})"

    def fingerprint(self, value: SecretValue) -> bytes:
        """What an idempotency record may keep of a request that sets this value."""
        return self._box.fingerprint(value)

    async def list_secrets(self, who: Principal, project_id: str, query: ViewQuery) -> Page:
        """Names and times, newest first; never a value."""
        who.require("secret:read")
        await self._project(who, project_id)
        return await list_page(
            self._store,
            "secrets",
            ViewQuery(
                who.org_id,
                project_ids=[project_id],
                statuses=[ACTIVE],
                before=query.before,
                limit=query.limit,
            ),
        )

    async def set_secret(
        self,
        who: Principal,
        project_id: str,
        name: str,
        value: SecretValue,
        idempotent: IdempotentRequest | None,
    ) -> Answer:
        """200 `{secret}`: a new secret, or another value, for the runs that start from now on."""
        who.require("secret:write")
        project = await self._project(who, project_id)
        async with self._stream.once(idempotent) as answer:
            if answer:
                return answer
            check_env_name(name, "name")
            check_secret_value(value, self._limits)
            record = Record(KIND, secret_row_id(project_id, name), self._box.seal(project_id, name, value))
            event = NewEvent("secret_set", {"actor": who.key_id, "projectId": project_id, "name": name})
            for _ in range(self._limits.append_attempts_max):
                head = await self._store.head(project.org_id)
                await self._require_room(project, name, value)
                claim = idempotent.claim(rendered("secret")) if idempotent else None
                try:
                    # The exact head: of two requests for the last place one decides again.
                    done = await self._store.append(
                        Append(
                            project.org_id, head.size if head else 0, [event], claim=claim, records=[record]
                        )
                    )
                except ExpectedHeadMismatch:
                    continue
                return done.answer or rendered("secret")(await self._store.get_view("secrets", record.id))
        raise Refusal("conflict", "This organisation is changing too quickly. Try again.")

    async def delete_secret(
        self, who: Principal, project_id: str, name: str, idempotent: IdempotentRequest | None
    ) -> Answer:
        """200 `{secret}`; its value is gone. A run that was created with it and did not start yet fails."""
        who.require("secret:write")
        project = await self._project(who, project_id)
        async with self._stream.once(idempotent) as answer:
            if answer:
                return answer
            row_id = secret_row_id(project_id, name)
            row = await self._store.get_view("secrets", row_id)
            if row is None or row.status != ACTIVE:
                raise not_found("Secret", name)
            event = NewEvent("secret_deleted", {"actor": who.key_id, "projectId": project_id, "name": name})
            return await self._stream.append(
                project.org_id,
                event,
                about=("secrets", row_id),
                render=rendered("secret"),
                idempotent=idempotent,
                records=[Record(KIND, row_id, GONE)],
            )

    async def values(self, project_id: str, names: Sequence[str]) -> Mapping[str, SecretValue]:
        """The values of exactly these secrets, by name; raises `SecretUnavailable` when one cannot be had."""
        return {name: await self._value(project_id, name) for name in names}

    async def _value(self, project_id: str, name: str) -> SecretValue:
        record = await self._store.get_record(KIND, secret_row_id(project_id, name))
        if record is None or record.doc == GONE:
            raise SecretUnavailable(
                f"The secret {name} was deleted after this run was created. Create a new run.",
                deleted=True,
            )
        try:
            return self._box.open(project_id, name, record.doc)
        except WrongSecretsKey as error:
            raise SecretUnavailable(
                f"The secret {name} cannot be decrypted ({error}). The operator restores keys/secrets.key, "
                "or somebody sets the secret again.",
                deleted=False,
            ) from None

    async def _project(self, who: Principal, project_id: str) -> ViewRow:
        row = await self._store.get_view("projects", project_id) if is_id(project_id, "prj") else None
        if row is None or not who.sees(row.org_id, project_id):
            raise not_found("Project", project_id)
        return row

    async def _require_room(self, project: ViewRow, name: str, value: SecretValue) -> None:
        """Refuse one secret too many, or one that would make the environment too large."""
        query = ViewQuery(project.org_id, project_ids=[project.id], statuses=[ACTIVE], limit=LISTED_MAX)
        rows = await self._store.list_view("secrets", query)
        others = [row for row in rows if row.id != secret_row_id(project.id, name)]
        limits = self._limits
        if len(others) >= limits.secrets_max:
            raise Refusal(
                "quota_exceeded",
                f"This project has {len(others)} secrets, and at most {limits.secrets_max} are kept. "
                "Delete one that is not needed.",
                {"quota": "secrets", "limit": limits.secrets_max},
            )
        size_bytes = len(name) + value.size_bytes
        for row in others:
            record = await self._store.get_record(KIND, row.id)
            if record is not None and record.doc != GONE:
                size_bytes += len(row.id.partition("/")[2]) + SecretBox.size_bytes(record.doc)
        if size_bytes > limits.secrets_bytes_max:
            raise Refusal(
                "quota_exceeded",
                f"The secrets of this project would take {size_bytes} bytes together; at most "
                f"{limits.secrets_bytes_max} fit into a command's environment. Delete or shorten one.",
                {"quota": "secretBytes", "limit": limits.secrets_bytes_max},
            )


def check_secret_value(value: SecretValue, limits: RunLimits) -> None:
    """Refuse a value that is too short to be masked, too long, or holds NUL; never repeating it."""
    if not limits.secret_bytes_min <= value.size_bytes <= limits.secret_bytes_max:
        raise Refusal(
            "invalid_request",
            f"value must be {limits.secret_bytes_min} to {limits.secret_bytes_max} bytes: a shorter one "
            "cannot be masked without destroying the output, a longer one belongs into a file.",
            {"field": "value"},
        )
    if "\0" in value.reveal():
        raise Refusal(
            "invalid_request",
            "value must not contain NUL, which no environment variable can hold. Encode it, in base64 say.",
            {"field": "value"},
        )


async def any_secret(store: Store) -> bool:
    """Whether some organisation has a secret, for which the key is needed."""
    after = ""
    while org_ids := await store.streams("org_", after, LISTED_MAX):
        after = org_ids[-1]
        for org_id in org_ids:
            if await store.list_view("secrets", ViewQuery(org_id, statuses=[ACTIVE], limit=1)):
                return True
    return False
