"""The client's methods of files: in a sandbox's workspace, and kept as artifacts (CONTRACT §2, §8)."""

from __future__ import annotations

import base64
from typing import Literal, cast

from client.sandboxes import SANDBOXES
from client.shapes import Artifact, FileEntry, JsonObject, Page
from client.wire import Methods, Sink, at, given, idempotency, objects, page_of, set_fields, unwrapped

ARTIFACTS = "/v1/artifacts"


class FileMethods(Methods):
    """Workspace files and artifacts."""

    def list_files(self, sandbox_id: str, path: str) -> list[FileEntry]:
        """GET …/files?path: what a folder holds."""
        answer = self._transport.json("GET", at(SANDBOXES, sandbox_id, "files"), params={"path": path})
        return cast("list[FileEntry]", objects(answer))

    def stat_file(self, sandbox_id: str, path: str) -> FileEntry:
        """GET …/files/stat?path."""
        where = at(SANDBOXES, sandbox_id, "files/stat")
        return _file(self._transport.json("GET", where, params={"path": path}))

    def read_file(
        self, sandbox_id: str, path: str, *, encoding: Literal["utf8", "base64"] | None = None
    ) -> JsonObject:
        """GET …/files/read?path: `{content, encoding}` of a small file."""
        where = at(SANDBOXES, sandbox_id, "files/read")
        return self._transport.json("GET", where, params=given(path=path, encoding=encoding))

    def download_file(self, sandbox_id: str, path: str, out: Sink) -> int:
        """GET …/files/download?path into `out`, byte for byte; answers the size in bytes."""
        where = at(SANDBOXES, sandbox_id, "files/download")
        return self._download(where, out, "application/octet-stream", {"path": path})

    def write_file(
        self,
        sandbox_id: str,
        path: str,
        content: bytes,
        *,
        create_parents: bool = False,
        overwrite: bool = True,
    ) -> FileEntry:
        """PUT …/files: a small file, whole (CONTRACT §7.2: 256 KiB)."""
        body: JsonObject = {
            "path": path,
            "content": base64.b64encode(content).decode(),
            "encoding": "base64",
            "createParents": create_parents,
            "overwrite": overwrite,
        }
        return _file(self._transport.json("PUT", at(SANDBOXES, sandbox_id, "files"), body=body))

    def delete_file(self, sandbox_id: str, path: str) -> JsonObject:
        """DELETE …/files?path."""
        return self._transport.json("DELETE", at(SANDBOXES, sandbox_id, "files"), params={"path": path})

    def make_folder(self, sandbox_id: str, path: str, *, parents: bool = False) -> FileEntry:
        """POST …/files/mkdir."""
        body: JsonObject = {"path": path, "parents": parents}
        return _file(self._transport.json("POST", at(SANDBOXES, sandbox_id, "files/mkdir"), body=body))

    def move_file(self, sandbox_id: str, from_: str, to: str, *, overwrite: bool = False) -> FileEntry:
        """POST …/files/move."""
        body: JsonObject = {"from": from_, "to": to, "overwrite": overwrite}
        return _file(self._transport.json("POST", at(SANDBOXES, sandbox_id, "files/move"), body=body))

    # ---- artifacts

    def collect_artifact(
        self, sandbox_id: str, path: str, *, name: str | None = None, idempotency_key: str | None = None
    ) -> Artifact:
        """POST …/artifacts: keep a file of the workspace."""
        where, headers = at(SANDBOXES, sandbox_id, "artifacts"), idempotency(idempotency_key)
        body = set_fields(path=path, name=name)
        return _artifact(self._transport.json("POST", where, body=body, headers=headers))

    def list_artifacts(
        self, sandbox_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[Artifact]:
        """GET /v1/sandboxes/{id}/artifacts; works after the sandbox is gone."""
        where = at(SANDBOXES, sandbox_id, "artifacts")
        answer = self._transport.json("GET", where, params=given(limit=limit, cursor=cursor))
        return cast("Page[Artifact]", page_of(answer, cursor))

    def get_artifact(self, artifact_id: str) -> Artifact:
        """GET /v1/artifacts/{id}."""
        return _artifact(self._transport.json("GET", at(ARTIFACTS, artifact_id)))

    def download_artifact(self, artifact_id: str, out: Sink) -> int:
        """GET /v1/artifacts/{id}/download into `out`; answers the size in bytes."""
        return self._download(at(ARTIFACTS, artifact_id, "download"), out, "application/octet-stream", {})

    def delete_artifact(self, artifact_id: str) -> Artifact:
        """DELETE /v1/artifacts/{id}: answers its tombstone."""
        return _artifact(self._transport.json("DELETE", at(ARTIFACTS, artifact_id)))


def _file(answer: JsonObject) -> FileEntry:
    return cast("FileEntry", unwrapped(answer, "file", "path"))


def _artifact(answer: JsonObject) -> Artifact:
    return cast("Artifact", unwrapped(answer, "artifact", "id"))
