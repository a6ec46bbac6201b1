"""What a sealed run attests, statement by statement, in every way that it can end (PROOF P11)."""

import json
import re
from base64 import b64decode, b64encode
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from evidence.attestation import (
    BUILD_TYPE,
    CONTENT_BYTES_MAX,
    PROVENANCE_TYPE,
    RUN_EVIDENCE_TYPE,
    TEST_RESULT_TYPE,
    SealedRun,
    attest,
    result_of,
    statements,
)
from evidence.bundle import ATTESTATIONS, PROVENANCE, RUN_EVIDENCE, TEST_RESULT
from evidence.canonical import FormatError, decode, encode
from evidence.dsse import ENVELOPE_BYTES_MAX, parse_envelope
from evidence.note import sign_note
from tests.evidence_samples import (
    ATTESTATION_KEY,
    EXAMPLE_EVIDENCE,
    LOG_KEY,
    RUN,
    checkpoint_of,
    event_of,
    example_events,
    example_rows,
    record,
    signer,
)

NOTE = sign_note(checkpoint_of(example_rows()), LOG_KEY)
SEAL = event_of(example_rows()[15])
EXAMPLE = SealedRun(EXAMPLE_EVIDENCE, SEAL, NOTE)
EVIDENCE = decode(EXAMPLE_EVIDENCE)
URI = f"https://crownest.local/0123456789abcdef/run/{RUN}"
ARCHIVE = {"name": "archive", "uri": f"{URI}/archive", "digest": {"sha256": "ab" * 32}}
EVIDENCE_FILE = {
    "name": "evidence.json",
    "uri": f"{URI}/evidence.json",
    "digest": {"sha256": "31f9076a4f8b6cf16390d6cc7f273847e5d7c0e0eb4bcadedcd49582df2ca133"},
    "mediaType": "application/json",
}
REPORT = "2a31f44da4bd7decbbd3ddfd1a37ae04d02ec665e2c2688816ccc65631586ed1"


def said(run: SealedRun, name: str) -> dict[str, Any]:
    """One statement, parsed."""
    return decode(statements(run)[name])


def with_evidence(**fields: Any) -> SealedRun:
    """The example with other facts in its evidence; None removes one."""
    changed = {key: value for key, value in (EVIDENCE | fields).items() if value is not None}
    return replace(EXAMPLE, evidence=encode(changed))


def inline(content: bytes) -> dict[str, Any]:
    """Digest and content of a descriptor."""
    return {
        "digest": {"sha256": sha256(content).hexdigest()},
        "content": b64encode(content).decode(),
    }


def test_the_example_attests_its_test_result() -> None:
    """In-toto test-result v0.1: the archive is tested, by this command, with this evidence."""
    template = encode(EVIDENCE["template"])
    assert said(EXAMPLE, TEST_RESULT) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [ARCHIVE],
        "predicateType": "https://in-toto.io/attestation/test-result/v0.1",
        "predicate": {
            "result": "FAILED",
            "configuration": [
                {
                    "name": "command",
                    "mediaType": "text/plain",
                    "annotations": {"timeoutMs": 600_000},
                    **inline(b"python3 -m unittest"),
                },
                {"name": "template", "mediaType": "application/json", **inline(template)},
                EVIDENCE_FILE,
            ],
        },
    }


def test_the_example_attests_its_provenance() -> None:
    """SLSA provenance v1: the artifact was made by this server from this archive."""
    assert said(EXAMPLE, PROVENANCE) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "report.xml", "uri": f"{URI}/artifacts/art_r1", "digest": {"sha256": REPORT}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "command": "python3 -m unittest",
                    "template": "python-node",
                    "artifacts": [{"path": "report.xml"}, {"name": "m", "path": "missing.txt"}],
                    "envKeys": [],
                    "keepSandbox": False,
                    "timeoutMs": 600_000,
                },
                "internalParameters": {
                    "resolvedTemplate": EVIDENCE["template"],
                    "sandbox": EVIDENCE["sandbox"],
                    "sandboxId": "sbx_s1",
                },
                "resolvedDependencies": [ARCHIVE],
            },
            "runDetails": {
                "builder": {"id": "https://crownest.local/0123456789abcdef"},
                "metadata": {
                    "invocationId": RUN,
                    "startedOn": "2026-11-22T14:03:00.900Z",
                    "finishedOn": "2026-11-22T14:03:01.210Z",
                },
                "byproducts": [
                    EVIDENCE_FILE,
                    {
                        "name": "run.checkpoint",
                        "uri": f"{URI}/run.checkpoint",
                        "digest": {"sha256": sha256(NOTE).hexdigest()},
                        "mediaType": "text/plain",
                    },
                ],
            },
        },
    }


def test_the_example_attests_its_evidence() -> None:
    """Our own predicate: every digest, the head, and the place in the global log where it is shown."""
    expected = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [EVIDENCE_FILE],
        "predicateType": "https://crownest.dev/attestation/run-evidence/v1",
        "predicate": {
            "runId": RUN,
            "orgId": "org_o1",
            "projectId": "prj_a1",
            "status": "failed",
            "createdAt": "2026-11-22T14:03:00.000Z",
            "finishedAt": "2026-11-22T14:03:01.210Z",
            "projection": "evidence/v1",
            "sealSeq": 16,
            "archive": {"digest": {"sha256": "ab" * 32}, "sizeBytes": 1_200_000},
            "artifacts": [
                {"id": "art_r1", "path": "report.xml", "digest": {"sha256": REPORT}, "sizeBytes": 4}
            ],
            "output": {
                "stdout": {"digest": {"sha256": SEAL["stdoutSha256"]}, "sizeBytes": 12},
                "stderr": {"digest": {"sha256": SEAL["stderrSha256"]}, "sizeBytes": 23},
            },
            "head": {
                "origin": f"crownest.local/0123456789abcdef/run/{RUN}",
                "size": 16,
                "root": "o1/jxi1+E+KjNtDSPEw4MA37TwJcsGhnXw0gM6dfuWU=",
                "checkpoint": {"sha256": sha256(NOTE).hexdigest()},
            },
        },
    }
    assert said(EXAMPLE, RUN_EVIDENCE) == expected
    for index in (0, 7):
        predicate = said(replace(EXAMPLE, log_index=index), RUN_EVIDENCE)["predicate"]
        assert predicate == expected["predicate"] | {"globalIndex": index}


# ---- the shapes that others define --------------------------------------------------------------


def assert_descriptor(value: Any) -> None:
    """A ResourceDescriptor v1: known fields of their types, and one of uri, digest, content at least."""
    kinds = {"name": str, "uri": str, "digest": dict, "content": str, "mediaType": str, "annotations": dict}
    assert value.keys() <= kinds.keys()
    assert all(type(item) is kinds[field] for field, item in value.items())
    assert value.keys() & {"uri", "digest", "content"}
    assert value.get("uri", "https://x").startswith("https://")
    assert all(len(digest) == 64 for digest in value.get("digest", {}).values())
    assert len(b64decode(value.get("content", ""), validate=True)) < 1024


@pytest.mark.parametrize(
    "run", [EXAMPLE, replace(EXAMPLE, log_index=3), with_evidence(artifacts=[], sandbox=None, startedAt=None)]
)
def test_every_statement_has_the_shape_that_its_standard_defines(run: SealedRun) -> None:
    """Field names and requirements of in-toto Statement v1, test-result v0.1 and SLSA provenance v1."""
    for body in statements(run).values():
        statement = decode(body)
        assert statement.keys() == {"_type", "subject", "predicateType", "predicate"}
        assert statement["_type"] == "https://in-toto.io/Statement/v1"
        assert statement["subject"]
        for subject in statement["subject"]:
            assert_descriptor(subject)
            assert subject["digest"], "each subject has a digest"
        predicate = statement["predicate"]
        if statement["predicateType"] == TEST_RESULT_TYPE:
            assert predicate.keys() == {"result", "configuration"}
            assert predicate["result"] in {"PASSED", "WARNED", "FAILED"}
            descriptors = predicate["configuration"]
        elif statement["predicateType"] == PROVENANCE_TYPE:
            assert predicate.keys() == {"buildDefinition", "runDetails"}
            definition, details = predicate["buildDefinition"], predicate["runDetails"]
            assert definition.keys() <= {
                "buildType", "externalParameters", "internalParameters", "resolvedDependencies"
            }  # fmt: skip
            assert {"buildType", "externalParameters"} <= definition.keys()
            assert details.keys() == {"builder", "metadata", "byproducts"}
            assert details["builder"].keys() == {"id"}
            assert details["metadata"].keys() <= {"invocationId", "startedOn", "finishedOn"}
            descriptors = definition["resolvedDependencies"] + details["byproducts"]
        else:
            assert statement["predicateType"] == RUN_EVIDENCE_TYPE
            descriptors = []
        for descriptor in descriptors:
            assert_descriptor(descriptor)


def test_the_same_run_gives_the_same_bytes() -> None:
    """Statements and envelopes are functions of the proof: no clock, no chance."""
    assert statements(EXAMPLE) == statements(replace(EXAMPLE))
    assert attest(EXAMPLE, ATTESTATION_KEY) == attest(replace(EXAMPLE), ATTESTATION_KEY)
    assert list(statements(EXAMPLE)) == list(ATTESTATIONS)
    for name, envelope in attest(EXAMPLE, ATTESTATION_KEY).items():
        assert parse_envelope(envelope).payload == statements(EXAMPLE)[name]


def test_the_test_result_stays_when_the_head_moves() -> None:
    """A redaction after the seal changes the checkpoint, and with it what tells of the checkpoint only."""
    later = replace(EXAMPLE, checkpoint=sign_note(checkpoint_of(example_rows()[:15]), LOG_KEY))
    before, after = statements(EXAMPLE), statements(later)
    assert before[TEST_RESULT] == after[TEST_RESULT]
    assert all(before[name] != after[name] for name in (PROVENANCE, RUN_EVIDENCE))


def test_a_long_command_is_named_by_its_digest_alone() -> None:
    """In-toto advises contents below 1 KiB; bytes are counted, not characters."""
    for command, is_shown in (
        ("x" * CONTENT_BYTES_MAX, True),
        ("x" * (CONTENT_BYTES_MAX + 1), False),
        ("\u20ac" * 400, False),
    ):
        described = said(with_evidence(command=command), TEST_RESULT)["predicate"]["configuration"][0]
        assert described["digest"] == {"sha256": sha256(command.encode()).hexdigest()}
        assert ("content" in described) is is_shown


@pytest.mark.parametrize(
    ("origin", "uri"),
    [
        ("crownest.local/0123456789abcdef", "https://crownest.local/0123456789abcdef"),
        ("Proof.Example.ORG", "https://proof.example.org"),
        ("Proof.example/Team#1?x", "https://proof.example/Team%231%3Fx"),
        ("[::1]:8787/a%b", "https://[::1]:8787/a%25b"),
        ("b\u00fccher.example/\u20ac", "https://b%C3%BCcher.example/%E2%82%AC"),
    ],
)
def test_an_origin_becomes_a_normalised_uri(origin: str, uri: str) -> None:
    """The builder's id is a URI whatever the origin is called; the exact origin stands in run-evidence."""
    key = signer(origin, "log")
    run = replace(EXAMPLE, checkpoint=sign_note(checkpoint_of(example_rows(), origin=origin), key))
    assert said(run, PROVENANCE)["predicate"]["runDetails"]["builder"]["id"] == uri
    assert said(run, RUN_EVIDENCE)["predicate"]["head"]["origin"] == f"{origin}/run/{RUN}"
    assert said(run, TEST_RESULT)["subject"][0]["uri"] == f"{uri}/run/{RUN}/archive"


# ---- which statements there are -----------------------------------------------------------------

SUCCEEDED = {"status": "succeeded", "exitCode": 0, "failureReason": None, "failureClass": None}


@pytest.mark.parametrize(
    ("fields", "result"),
    [
        (SUCCEEDED | {"artifactErrors": []}, "PASSED"),
        (SUCCEEDED, "WARNED"),
        (SUCCEEDED | {"exitCode": 3}, "FAILED"),
        (SUCCEEDED | {"exitCode": None}, None),
        (SUCCEEDED | {"exitCode": False}, None),
        (SUCCEEDED | {"exitCode": "0"}, None),
        ({}, "FAILED"),
        ({"exitCode": 0}, "FAILED"),
        ({"artifactErrors": []}, "FAILED"),
        ({"failureReason": "timeout", "exitCode": None}, "FAILED"),
        ({"failureReason": "archive_invalid", "failureClass": "user_input", "exitCode": None}, None),
        ({"failureReason": "sandbox_unavailable", "failureClass": "platform", "exitCode": None}, None),
        ({"failureReason": "internal_error", "failureClass": "platform", "exitCode": 0}, None),
        ({"failureReason": "a new reason", "exitCode": 1}, None),
        ({"failureReason": None, "exitCode": 1}, None),
        ({"status": "canceled", "failureReason": None, "exitCode": None}, None),
        ({"status": "canceled", "failureReason": "timeout", "exitCode": None}, None),
    ],
)
def test_the_result_is_told_only_of_a_command_that_came_to_its_end(
    fields: dict[str, Any], result: str | None
) -> None:
    """PASSED, WARNED and FAILED by exit code, artifact errors and the time limit; else no statement."""
    run = with_evidence(**fields)
    assert result_of(decode(run.evidence)) == result
    made = statements(run)
    assert (TEST_RESULT in made) is (result is not None)
    if result is not None:
        assert decode(made[TEST_RESULT])["predicate"]["result"] == result
    assert {PROVENANCE, RUN_EVIDENCE} <= made.keys()


def test_without_an_archive_nothing_was_tested() -> None:
    """A run recorded elsewhere has no subject for a test-result; its artifacts depend on nothing known."""
    made = statements(with_evidence(archive=None))
    assert TEST_RESULT not in made
    assert decode(made[PROVENANCE])["predicate"]["buildDefinition"]["resolvedDependencies"] == []
    assert "archive" not in decode(made[RUN_EVIDENCE])["predicate"]


def test_without_artifacts_nothing_was_made() -> None:
    """No provenance without subjects; the evidence of a sealed run is always attested."""
    made = statements(with_evidence(artifacts=[], artifactIds=[]))
    assert list(made) == [TEST_RESULT, RUN_EVIDENCE]
    assert decode(made[RUN_EVIDENCE])["predicate"]["artifacts"] == []


def test_a_run_that_never_began_attests_its_evidence_alone() -> None:
    """Canceled before the start: no command, no archive, no artifacts."""
    first = {key: value for key, value in example_events()[0].items() if key not in {"seq", "createdAt"}}
    cleanup = {"type": "cleanup", "cleanupStatus": "not_requested", "reason": "never_started"}
    outcome = {"type": "outcome", "status": "canceled", "orchestrationSucceeded": True}
    recorded = record([first, cleanup, outcome])
    assert recorded.evidence is not None
    note = sign_note(checkpoint_of(recorded.rows), LOG_KEY)
    made = statements(SealedRun(recorded.evidence, event_of(recorded.rows[-1]), note))
    assert list(made) == [RUN_EVIDENCE]
    assert decode(made[RUN_EVIDENCE])["predicate"]["status"] == "canceled"


@pytest.mark.parametrize(
    "run",
    [
        with_evidence(archive={"sha256": "AB" * 32, "sizeBytes": 1}),
        with_evidence(archive={"sha256": ["ab" * 32], "sizeBytes": 1}),
        with_evidence(archive="ab" * 32),
        with_evidence(archive={}),
        with_evidence(artifacts=[{"id": 7, "path": "p", "sha256": "ab" * 32, "sizeBytes": 1}]),
        with_evidence(artifacts=[{"id": "art_1", "path": "p", "sha256": "", "sizeBytes": 1}]),
        with_evidence(artifacts=["art_1"]),
        with_evidence(artifacts=7),
        with_evidence(failureReason=["timeout"]),
        with_evidence(command=7),
        with_evidence(template=[]),
        with_evidence(template=None),
        with_evidence(timeoutMs=None),
        replace(EXAMPLE, evidence=b"{}"),
        replace(EXAMPLE, evidence=b"[]"),
        replace(EXAMPLE, evidence=b"\xff"),
        replace(EXAMPLE, seal={}),
        replace(EXAMPLE, seal=SEAL | {"stdoutSha256": "none"}),
        replace(EXAMPLE, checkpoint=b""),
        replace(EXAMPLE, checkpoint=sign_note("a log\n", LOG_KEY)),
    ],
)
def test_what_no_run_has_is_refused(run: SealedRun) -> None:
    """Whatever a server puts into its evidence, the answer is a `FormatError` and no bare exception."""
    with pytest.raises(FormatError):
        statements(run)


def test_a_statement_that_no_bundle_could_hold_is_not_signed() -> None:
    """The writer refuses what the reader would (P8)."""
    path = "p" * ENVELOPE_BYTES_MAX
    artifact = {"id": "art_1", "path": path, "sha256": REPORT, "sizeBytes": 1}
    with pytest.raises(ValueError, match="at most"):
        attest(with_evidence(artifacts=[artifact]), ATTESTATION_KEY)


# ---- what the specification says ----------------------------------------------------------------

SPEC = Path(__file__).resolve().parents[2] / "docs" / "spec"


def told_in(page: str) -> tuple[set[str], dict[str, Any]]:
    """The fields in the first column of a page's tables, and its example."""
    text = (SPEC / page).read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    example = json.loads(text.split("```json")[1].split("```")[0])
    return {field for first in rows for field in re.findall(r"`([^`]+)`", first)}, example


def test_the_page_of_our_predicate_is_true() -> None:
    """Its example is the example's statement, and its table has the predicate's fields."""
    fields, shown = told_in("run-evidence-v1.md")
    statement = said(replace(EXAMPLE, log_index=7), RUN_EVIDENCE)
    assert shown == statement
    predicate = statement["predicate"]
    inside_head = {f"head.{field}" for field in predicate["head"]}
    assert fields == (predicate.keys() - {"head"}) | inside_head


def test_the_page_of_our_build_type_is_true() -> None:
    """Its example is the example's build definition, and its tables have all parameters."""
    fields, shown = told_in("workspace-run-v1.md")
    definition = said(EXAMPLE, PROVENANCE)["predicate"]["buildDefinition"]
    assert shown == definition
    assert fields == definition["externalParameters"].keys() | definition["internalParameters"].keys()
