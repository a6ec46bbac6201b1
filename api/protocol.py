"""The HTTP/1.1 protocol of uvicorn, refusing what is no HTTP in the contract's envelope (rule 7)."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.errors import envelope
from runs.ids import new_id
from runs.refusal import Refusal


class EnvelopeProtocol(HttpToolsProtocol):
    """What the parser refuses never reaches the application, so the answer is written here."""

    def send_400_response(self, msg: str) -> None:
        """400 `invalid_request`, and the connection closes: where the next request begins is unknown."""
        request_id = new_id("req")
        status, headers, body = envelope(Refusal("invalid_request", msg), request_id)
        headers |= {"content-length": str(len(body)), "connection": "close", "x-request-id": request_id}
        lines = [f"HTTP/1.1 {status} Bad Request", *(f"{name}: {value}" for name, value in headers.items())]
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self.transport.close()
