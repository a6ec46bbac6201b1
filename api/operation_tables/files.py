"""Routes of the files in a sandbox's workspace (CONTRACT §2)."""

from __future__ import annotations

from api.bodies import FileDownloadUrlBody, MkdirBody, MoveFileBody, WriteFileBody
from api.operation_tables.operation import BYTES, FILE_PATH, Operation, Parameter, as_json, binary
from api.operation_tables.sandboxes import A_SANDBOX, IN_A_SANDBOX
from api.schemas.parts import one_of, ref, wraps

_FILES = f"{A_SANDBOX}/files"
_STAT = as_json(wraps(file="FileStat"))
_DIRECTORY = Parameter("path", "A directory; left out, `/workspace`.", {"type": "string", "minLength": 1})
_ENCODING = Parameter("encoding", "How `content` is written; `utf8` unless told.", one_of("utf8", "base64"))
_READS = (*IN_A_SANDBOX, "path_outside_workspace", "file_not_found")
_WRITES = (*_READS, "conflict", "file_too_large")

FILE_OPERATIONS = (
    Operation(
        "GET", _FILES, "listFiles", "Files", "List a directory",
        scope="file:read", parameters=(_DIRECTORY,), answer=as_json(ref("FileList")),
        errors=_READS,
    ),
    Operation(
        "GET", f"{_FILES}/stat", "statFile", "Files", "What is known of a file",
        scope="file:read", parameters=(FILE_PATH,), answer=_STAT, errors=_READS,
    ),
    Operation(
        "GET", f"{_FILES}/read", "readFile", "Files", "Read a small file",
        scope="file:read", parameters=(FILE_PATH, _ENCODING), answer=as_json(ref("FileContent")),
        errors=(*_READS, "invalid_file_encoding", "file_too_large"),
    ),
    Operation(
        "PUT", _FILES, "writeFile", "Files", "Write a small file",
        scope="file:write", body=WriteFileBody, answer=_STAT,
        errors=(*_WRITES, "invalid_file_encoding"),
    ),
    Operation(
        "DELETE", _FILES, "deleteFile", "Files", "Delete a file or an empty directory",
        scope="file:write", parameters=(FILE_PATH,), answer=as_json(ref("Deleted")),
        errors=_READS,
    ),
    Operation(
        "POST", f"{_FILES}/mkdir", "makeDirectory", "Files", "Make a directory",
        scope="file:write", body=MkdirBody, answer=_STAT, errors=_WRITES,
    ),
    Operation(
        "POST", f"{_FILES}/move", "moveFile", "Files", "Move a file or directory",
        scope="file:write", body=MoveFileBody, answer=_STAT,
        errors=_WRITES,
    ),
    Operation(
        "POST", f"{_FILES}/download-url", "createFileDownloadUrl", "Files", "Where to download a file",
        scope="file:read", body=FileDownloadUrlBody, answer=as_json(ref("DownloadUrl")),
        errors=_READS,
    ),
    Operation(
        "GET", f"{_FILES}/download", "downloadFile", "Files", "Download a file",
        scope="file:read", parameters=(FILE_PATH,), answer=binary(BYTES, "The content."),
        errors=(*_READS, "file_too_large"),
    ),
)  # fmt: skip
