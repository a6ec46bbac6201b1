"""Asks one witness to cosign checkpoints of a log (C2SP tlog-witness, P5.5); used by the log's server."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Self

import httpx2

from client.errors import ClientError, ConnectionFailed
from client.transport import SDK_MARKER, checked_api_url, origin_of, translated
from evidence.canonical import FormatError
from evidence.note import COSIGNATURE, SignatureLine, Verifier, split_note
from evidence.record import parse_decimal
from evidence.tlog import cosigned_at
from evidence.witnessing import ADD_CHECKPOINT, SIZE_TYPE, AddCheckpoint, parse_extended

Proof = Callable[[int, int], Awaitable[Sequence[bytes]]]
"""`await proof(old, new)` = the consistency proof between two sizes of the log, 0 < old < new."""


@dataclass(frozen=True, slots=True)
class WitnessLimits:
    """How long a witness may take, and how much it may say."""

    connect_s: float = 5.0
    read_s: float = 10.0
    whole_s: float = 20.0
    """For one `cosign`, all its requests together."""
    answer_bytes_max: int = 16 * 1024
    conflicts_max: int = 2
    """Sizes that are learnt in one `cosign`; a second one means that another asks at the same time."""


class WitnessError(ClientError):
    """The witness did not cosign.

    `code` is `witness_unknown_log`, `witness_unknown_key`, `witness_saw_more`,
    `witness_saw_another_history`, `witness_refused`, `witness_busy` or `witness_bad_answer`; the message
    says who does what. Only `witness_busy` is worth another try with the same checkpoint.
    """


class WitnessClient:
    """One witness, known by its address and its key; remembers which size of the log it has.

    For use within one event loop, one `cosign` at a time. Close it, or use it as a context.
    """

    def __init__(
        self, url: str, key: Verifier, *, trust_env: bool = False, limits: WitnessLimits | None = None
    ) -> None:
        """`key` is the witness's, as a policy line holds it. Raises `ClientError` for no address."""
        if key.type != COSIGNATURE:
            raise ValueError(f"{key.name} is no witness's key: those are of type 04")
        self.key, self.size = key, 0
        self.url = checked_api_url(url)
        self._limits = limits or WitnessLimits()
        self._http = httpx2.AsyncClient(
            # Reading the system's certificates takes 100 ms, so only for https; see client.transport.
            verify=True if self.url.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            trust_env=trust_env,
            follow_redirects=False,
            headers={"user-agent": SDK_MARKER, "content-type": "text/plain; charset=utf-8"},
            timeout=httpx2.Timeout(self._limits.read_s, connect=self._limits.connect_s),
        )

    def __repr__(self) -> str:
        return f"WitnessClient({self.url!r}, {self.key.name!r}, size={self.size})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        await self._http.aclose()

    async def cosign(self, note: bytes, proof: Proof) -> str:
        """Ask for a cosignature; answers its line, verified, ending in LF, to append to the note.

        Raises `WitnessError`, `ConnectionFailed`, and what `proof` raises. `FormatError` for a note that
        is no checkpoint.
        """
        text, _ = split_note(note)
        size = parse_extended(text).size
        try:
            async with asyncio.timeout(self._limits.whole_s):
                line = await self._cosign(note, text, size, proof)
        except TimeoutError as error:
            raise ConnectionFailed("timeout", self.url, f"more than {self._limits.whole_s} s") from error
        self.size = size
        return f"{line}\n"

    async def _cosign(self, note: bytes, text: str, size: int, proof: Proof) -> SignatureLine:
        for _ in range(self._limits.conflicts_max + 1):
            if self.size > size:
                told, self.size = self.size, 0  # a slip of the witness, or of what is between, is no fact
                raise self._saw_more(told, size)
            path = await proof(self.size, size) if 0 < self.size < size else ()
            answer = await self._post(AddCheckpoint(self.size, tuple(path), note).to_bytes())
            if answer.status == HTTPStatus.OK:
                return self._own_line(text, answer.body)
            self.size = self._learnt_size(answer)
        raise WitnessError(
            "witness_busy",
            f"The witness {self.key.name} named {self._limits.conflicts_max + 1} sizes in a row: another "
            "process asks it for the same log. Only one server may sign for an origin.",
            retryable=True,
        )

    async def _post(self, body: bytes) -> _Answer:
        url = httpx2.URL(self.url + ADD_CHECKPOINT)
        with translated(origin_of(url)):
            async with self._http.stream("POST", url, content=body) as response:
                data = b""
                async for chunk in response.aiter_bytes():
                    data += chunk
                    if len(data) > self._limits.answer_bytes_max:
                        limit = self._limits.answer_bytes_max
                        raise self._bad_answer(f"its answer is longer than {limit} bytes")
        return _Answer(response.status_code, response.headers.get("content-type", ""), data)

    def _own_line(self, text: str, body: bytes) -> SignatureLine:
        """The one valid line of the key that we were told; lines of other keys are dropped."""
        try:
            lines = split_note(f"{text}\n".encode() + body)[1]
        except FormatError as error:
            raise self._bad_answer(f"its answer is no signature lines ({error})") from error
        ours = [line for line in lines if (line.name, line.key_id) == (self.key.name, self.key.key_id)]
        if len(ours) != 1:
            raise self._bad_answer(f"its answer has {len(ours)} lines of the key {self.key}, not one")
        if cosigned_at(text, ours[0], self.key) is None:
            raise self._bad_answer("its cosignature does not fit the checkpoint")
        return ours[0]

    def _learnt_size(self, answer: _Answer) -> int:
        """The size that a 409 tells. Raises for every other answer what it means."""
        if answer.status != HTTPStatus.CONFLICT or answer.content_type.partition(";")[0] != SIZE_TYPE:
            raise self._refusal(answer)
        try:
            known = parse_decimal(answer.body.decode("ascii").removesuffix("\n"))
        except ValueError as error:
            raise self._bad_answer("it named a size that is no number") from error
        if known == self.size:
            raise self._bad_answer(f"it refused {known} and named {known}")
        return known

    def _refusal(self, answer: _Answer) -> WitnessError:
        name, said = self.key.name, answer.said()
        match answer.status:
            case HTTPStatus.NOT_FOUND:
                return WitnessError(
                    "witness_unknown_log",
                    f"The witness {name} does not follow this log. Give its operator this server's policy "
                    f"(GET /v1/proof/policy), for crownest-witness trust; and check the address {self.url}.",
                )
            case HTTPStatus.FORBIDDEN:
                return WitnessError(
                    "witness_unknown_key",
                    f"The witness {name} does not trust the key that signed. After a change of key, give its "
                    f"operator this server's policy again. It said: {said}",
                )
            case HTTPStatus.CONFLICT | HTTPStatus.UNPROCESSABLE_ENTITY:
                return WitnessError(
                    "witness_saw_another_history",
                    f"The witness {name} cosigned another history of this log at {self.size} entries. Stop "
                    "the server and keep its folder: the log was restored from a backup, or changed. "
                    f"It said: {said}",
                )
            case status if status == HTTPStatus.TOO_MANY_REQUESTS or status >= 500:
                return WitnessError(
                    "witness_busy", f"The witness {name} cannot answer now ({status}): {said}", retryable=True
                )
            case status:
                return WitnessError(
                    "witness_refused",
                    f"The witness {name} refused the request ({status}). Check that {self.url} is its "
                    f"submission prefix. It said: {said}",
                )

    def _saw_more(self, told: int, size: int) -> WitnessError:
        return WitnessError(
            "witness_saw_more",
            f"The witness {self.key.name} has cosigned {told} entries of this log, and the checkpoint "
            f"has {size}. Stop the server: its log was restored from an old backup, or another server signs "
            "with the same key.",
        )

    def _bad_answer(self, what: str) -> WitnessError:
        return WitnessError(
            "witness_bad_answer",
            f"What answers at {self.url} is not the witness {self.key.name}: {what}. Check its address and "
            "the verifier key in the policy.",
        )


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    content_type: str
    body: bytes

    def said(self) -> str:
        """The start of a refusal, for a message: what a stranger wrote, in one line."""
        words = " ".join(self.body[:200].decode("utf-8", "replace").split())
        return "".join(char if char.isprintable() else "?" for char in words) or "nothing"
