"""The fuzzer in short, and controls: a verifier with a hole, and a reader with one, are seen."""

from dataclasses import replace

import pytest

from evidence.bundle import ARTIFACTS
from evidence.verdict import COMPLETE, Verdict
from tests.evidence_samples import members
from tests.fuzz.fuzz import Fuzzer, main
from tests.fuzz.mutants import Mutants, pack
from tests.fuzz.readers import READERS, Reader
from tests.whole_proof import WHOLE, judge_whole

SEED = 3


def test_no_change_of_a_bundle_passes_and_each_is_named() -> None:
    """Some hundred inputs of each family: none accepted, none without a code, no bare exception."""
    report = Fuzzer(SEED, 300).run()
    assert not report.finds
    assert {"member", "file", "header", "length", "line", "drop", "double", "contents", "order", "lie"} < set(
        report.families
    )
    assert {reader.name for reader in READERS} < set(report.families)
    assert len(report.codes) > 15


def test_the_same_seed_makes_the_same_inputs() -> None:
    """So that a find can be had again, alone, and whatever the number of mutations was."""
    first, again = (list(Mutants(WHOLE, SEED, count)) for count in (20, 30))
    assert set(first) < set(again)
    assert all(mutant.bundle != WHOLE for mutant in again)
    assert next(iter(Mutants(WHOLE, SEED + 1, 1))) != first[0]
    only = Fuzzer(SEED, 20, only="member:7").run()
    assert dict(only.families) == {"member": 1}


def test_a_verifier_with_a_hole_is_seen() -> None:
    """Accepting, raising, and failing without code or message are finds; the report names the input."""

    def hole(bundle: bytes) -> Verdict:
        verdict = judge_whole(bundle)
        match verdict.code:
            case "E_PAYLOAD_MISMATCH":
                return replace(verdict, verdict=COMPLETE, exit_code=0)
            case "E_ARTIFACT_DIGEST":
                raise KeyError("artifact")
            case "E_DSSE_SIG":
                return replace(verdict, code="E_SOMETHING")
            case "E_GENESIS":
                return replace(verdict, message="no")
            case _:
                return verdict

    finds = Fuzzer(SEED, 100).run(hole, ()).finds
    for part in (
        "accepted as COMPLETE",
        "raised KeyError('artifact')",
        "no code: E_SOMETHING",
        "message: 'no'",
    ):
        name, what = next((name, what) for name, what in finds if part in what)
        assert Fuzzer(SEED, 100, only=name).run(hole, ()).finds == [(name, what)]


def test_a_reader_with_a_hole_is_seen() -> None:
    """A bare exception out of a reader is a find."""
    careless = Reader("careless", (b"12",), lambda data: int(data) and None)
    assert any("raised ValueError" in what for _, what in Fuzzer(SEED, 100).run(readers=(careless,)).finds)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_a_reader_accepts_its_samples(reader: Reader) -> None:
    """What is fuzzed is sound before."""
    for sample in reader.samples:
        reader.read(sample)


def test_a_bundle_without_the_content_of_an_artifact_says_so() -> None:
    """Contents are there on request (P8): left out, the run is as complete, and the content not proven."""
    left = [(name, data) for name, data in members(WHOLE).items() if not name.startswith(ARTIFACTS)]
    verdict = judge_whole(pack(left))
    assert verdict.verdict == COMPLETE
    assert any("content of art_r1" in sentence for sentence in judge_whole(WHOLE).proven)
    assert not any("art_r1" in sentence for sentence in verdict.proven)
    assert any("The content of 1 artifact" in sentence for sentence in verdict.not_proven)


def test_what_is_packed_whole_is_the_bundle() -> None:
    """So that a mutant differs from it in what was changed, and in nothing else."""
    assert pack(list(members(WHOLE).items())) == WHOLE


def test_the_command_prints_its_seed_and_fails_on_a_find(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make fuzz` as CI sees it."""
    monkeypatch.setattr("sys.argv", ["fuzz", "--seed", "5", "--mutations", "10", "--only", "member:3"])
    assert main() == 0
    assert "seed 5: 1 inputs" in capsys.readouterr().out
    monkeypatch.setattr("tests.fuzz.fuzz.CODES", {})
    assert main() == 1
    assert "--seed 5 --mutations 10 --only 'member:3'" in capsys.readouterr().out
