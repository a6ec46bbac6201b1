"""Rows of P10 about events and their records: add, drop, swap, splice, edit, re-chain, other spellings."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from evidence.bundle import EntryChain
from evidence.canonical import encode
from evidence.checkpoint import run_origin
from evidence.note import sign_note
from evidence.record import encode_base64, format_time, genesis, parse_time
from tests.evidence_samples import (
    LOG_KEY,
    ORIGIN,
    RUN,
    Entries,
    Recorded,
    checkpoint_of,
    edited_payload,
    members,
    numbered,
    rechain,
    repack,
    tamper,
    tamper_entries,
)
from tests.tampering.kit import (
    EVENTS,
    OUTPUT,
    SEAL,
    TERMINAL,
    TYPES,
    Draw,
    Tampered,
    Tamperings,
    bit_flipped,
    event,
    other,
    rows,
)
from tests.whole_proof import ANCHOR, ANCHOR_S, BEFORE, RECORDED, SIZE, WHOLE, cosigned, whole_bundle
from tests.witness_kit import GrowingLog

TAMPERINGS = Tamperings()
SUFFIXES = st.text("0123456789abcdefghjkmnpqrstvwxyz", min_size=1, max_size=26)
OTHER_RUNS = SUFFIXES.map("wsr_{}".format).filter(lambda run: run != RUN)
OLD_SALT = slice(2, 26)
"""Where the base64 of a salt stands in a ninth line."""


# ---- payloads -----------------------------------------------------------------------------------


@TAMPERINGS.caught_as("E_PAYLOAD_MISMATCH")
def a_bit_of_a_payload(draw: Draw) -> Tampered:
    """Any bit, any event."""
    seq = draw(EVENTS)

    def flip(entries: Entries) -> None:
        entries[seq - 1][8] = bit_flipped(draw, entries[seq - 1][8], OLD_SALT.stop + 1)

    return Tampered(tamper_entries(WHOLE, flip), seq)


@TAMPERINGS.caught_as("E_PAYLOAD_MISMATCH")
def a_salt(draw: Draw) -> Tampered:
    """Another salt, of right length and spelling."""
    seq, salt = draw(EVENTS), draw(st.binary(min_size=16, max_size=16)).hex()

    def change(entries: Entries) -> None:
        line = entries[seq - 1][8]
        entries[seq - 1][8] = b"+ " + encode_base64(bytes.fromhex(salt)).encode() + line[OLD_SALT.stop :]

    return Tampered(tamper_entries(WHOLE, change), seq)


# ---- add, drop, swap, splice --------------------------------------------------------------------


@TAMPERINGS.caught_as("E_SEQ_GAP")
def some_events_dropped(draw: Draw) -> Tampered:
    """From the middle or the start; something follows."""
    first = draw(st.integers(1, SIZE - 1))
    count = draw(st.integers(1, SIZE - first))
    return Tampered(
        tamper_entries(WHOLE, lambda e: e.__delitem__(slice(first - 1, first - 1 + count))), first
    )


@TAMPERINGS.caught_as("E_SEQ_GAP")
def far_events_swapped(draw: Draw) -> Tampered:
    """Where the expected event does not follow directly, it is missing (P9.6)."""
    first = draw(st.integers(1, SIZE - 2))
    second = draw(st.integers(first + 2, SIZE))

    def swap(entries: Entries) -> None:
        entries[first - 1], entries[second - 1] = entries[second - 1], entries[first - 1]

    return Tampered(tamper_entries(WHOLE, swap), first)


@TAMPERINGS.caught_as("E_SEQ_ORDER")
def neighbours_swapped(draw: Draw) -> Tampered:
    """Any event and the next."""
    seq = draw(st.integers(1, SIZE - 1))
    bundle = tamper_entries(WHOLE, lambda e: e.__setitem__(slice(seq - 1, seq + 1), [e[seq], e[seq - 1]]))
    return Tampered(bundle, seq)


@TAMPERINGS.caught_as("E_SEQ_ORDER")
def an_old_event_again_later(draw: Draw) -> Tampered:
    """Repeated where it is not the last one."""
    old = draw(st.integers(1, SIZE - 1))
    place = draw(st.integers(old + 1, SIZE))
    return Tampered(tamper_entries(WHOLE, lambda e: e.insert(place, e[old - 1])), place + 1)


@TAMPERINGS.caught_as("E_SEQ_DUP")
def an_event_doubled(draw: Draw) -> Tampered:
    """Once more, or several times."""
    seq, times = draw(EVENTS), draw(st.integers(1, 4))
    return Tampered(
        tamper_entries(WHOLE, lambda e: e.__setitem__(slice(seq, seq), [e[seq - 1]] * times)), seq
    )


@TAMPERINGS.caught_as("E_TRUNCATED")
def a_tail_dropped(draw: Draw) -> Tampered:
    """Any number of events at the end, all of them too."""
    left = draw(st.integers(0, SIZE - 1))
    return Tampered(tamper_entries(WHOLE, lambda e: e.__delitem__(slice(left, None))), left + 1)


@TAMPERINGS.caught_as("E_EXTRA_EVENTS")
def chained_events_added(draw: Draw) -> Tampered:
    """Forged, well-formed, and chained to the last one."""
    copied = draw(st.lists(EVENTS, min_size=1, max_size=3))

    def append(entries: Entries) -> None:
        last_time = entries[-1][4]
        for seq in copied:
            entries.append(list(entries[seq - 1]))
            entries[-1][2], entries[-1][4] = b"%d" % len(entries), last_time
        rechain(entries, SIZE + 1)

    return Tampered(tamper_entries(WHOLE, append), SIZE + 1)


@TAMPERINGS.caught_as("E_RUN_MISMATCH")
def an_event_of_another_run(draw: Draw) -> Tampered:
    """Put in, or in the place of ours."""
    run, seq, place = draw(OTHER_RUNS), draw(EVENTS), draw(st.integers(0, SIZE))
    lines = members(Recorded(RECORDED.rows, RECORDED.evidence, stream=run).bundle())["events.log"].split(
        b"\n"
    )
    foreign = [lines[9 * (seq - 1) : 9 * seq]]
    end = place + draw(st.integers(0, 1))
    return Tampered(tamper_entries(WHOLE, lambda e: e.__setitem__(slice(place, end), foreign)), place + 1)


@TAMPERINGS.caught_as("E_RUN_MISMATCH")
def a_second_beginning(draw: Draw) -> Tampered:
    """Recorded by the server in the middle of a run: its fold would become another run's."""
    seq, run = draw(st.integers(2, SIZE)), draw(OTHER_RUNS)
    changed = rows()
    at = format_time(changed[seq - 1].created_at_ms)
    changed[seq - 1] = numbered(event(1) | {"runId": run}, seq, at)
    return Tampered(whole_bundle(changed), seq)


# ---- edit, re-chain, re-sign --------------------------------------------------------------------


def edit(draw: Draw, entry: list[bytes]) -> None:
    """Another payload with its commitment, another type or another size: the record is another."""
    way = draw(st.integers(0, 2))
    if way == 0:
        payload = entry[8].split(b" ", 2)[2]
        edited_payload(entry, bit_flipped(draw, payload))
    elif way == 1:
        entry[3] = other(draw, TYPES, entry[3].decode()).encode()
    else:
        entry[5] = b"%d" % other(draw, st.integers(0, 10**6), int(entry[5]))


@TAMPERINGS.caught_as("E_CHAIN_BROKEN")
def a_record_edited(draw: Draw) -> Tampered:
    """The next one does not continue it."""
    seq = draw(st.integers(1, SIZE - 1))
    return Tampered(tamper_entries(WHOLE, lambda e: edit(draw, e[seq - 1])), seq + 1)


@TAMPERINGS.caught_as("E_ROOT_MISMATCH")
def a_record_edited_and_all_rechained(draw: Draw) -> Tampered:
    """Every record continues the one before; the signature is of others."""
    seq = draw(EVENTS)

    def change(entries: Entries) -> None:
        edit(draw, entries[seq - 1])
        rechain(entries, seq + 1)

    return Tampered(tamper_entries(WHOLE, change))


@TAMPERINGS.caught_as("E_NOT_FINAL")
def a_shorter_prefix_signed(draw: Draw) -> Tampered:
    """By the server itself, with the evidence of the whole run."""
    size = draw(st.integers(1, SIZE - 1))
    return Tampered(whole_bundle(rows()[:size]), size, {"allow_open": draw(st.booleans())})


@TAMPERINGS.caught_as("E_NOT_FINAL")
def an_end_without_its_seal(draw: Draw) -> Tampered:
    """A prefix that holds `terminal` is no open run, evidence or not."""
    bundle = whole_bundle(rows()[:TERMINAL], evidence=None)
    return Tampered(bundle, TERMINAL, {"allow_open": draw(st.booleans())})


@TAMPERINGS.caught_as("E_EVENT_AFTER_SEAL")
def events_after_the_seal(draw: Draw) -> Tampered:
    """Appended and signed by the server: anything but a redaction."""
    late = [event(draw(OUTPUT)), {"type": "weather"}, event(TERMINAL), event(SEAL) | {"lastPublicSeq": SIZE}]
    appended = [draw(st.sampled_from(late)), *draw(st.lists(st.sampled_from(late[:2]), max_size=3))]
    at = format_time(rows()[-1].created_at_ms)
    after = [numbered(one, SIZE + number, at) for number, one in enumerate(appended, 1)]
    return Tampered(whole_bundle([*rows(), *after]), SIZE + 1)


# ---- genesis and time ---------------------------------------------------------------------------


@TAMPERINGS.caught_as("E_GENESIS")
def an_anchor_exchanged(draw: Draw) -> Tampered:
    """For none, or for one that witnesses saw at another time."""
    earlier = cosigned(GrowingLog().grow(draw(st.integers(1, BEFORE - 1))).note(), ANCHOR_S)
    later = cosigned(GrowingLog().grow(BEFORE).note(), ANCHOR_S + draw(st.integers(1, 10**6)))
    anchor = draw(st.sampled_from([b"", earlier, later]))
    return Tampered(tamper(WHOLE, "anchor.note", lambda _: anchor), 1)


@TAMPERINGS.caught_as("E_GENESIS")
def a_genesis_of_another_run(draw: Draw) -> Tampered:
    """The records carry our id, the chain began from another's."""
    chain = EntryChain(RUN, genesis(draw(OTHER_RUNS), ANCHOR))
    log = b"".join(chain.add(item) for item in rows())
    return Tampered(repack(members(WHOLE) | {"events.log": log}), 1)


@TAMPERINGS.caught_as("E_TIME_ORDER")
def a_time_that_decreases(draw: Draw) -> Tampered:
    """Recorded and signed by the server."""
    seq = draw(st.integers(2, SIZE))
    changed = rows()
    before = changed[seq - 2].created_at_ms
    at_ms = draw(st.integers(0, before - 1))
    changed[seq - 1] = numbered(event(seq), seq, format_time(at_ms))
    return Tampered(whole_bundle(changed), seq)


# ---- spelling -----------------------------------------------------------------------------------


def stray_bits(encoded: bytes) -> bytes:
    """Base64 whose last character before the padding holds bits that no byte has."""
    body = encoded.rstrip(b"=")
    assert len(body) < len(encoded)
    return body[:-1] + bytes([body[-1] + 1]) + encoded[len(body) :]


@TAMPERINGS.caught_as("E_FORMAT")
def a_second_spelling_in_a_record(draw: Draw) -> Tampered:
    """Leading zeros, stray base64 bits, lost padding, spaces, other letters."""
    seq = draw(EVENTS)
    line, change = draw(
        st.sampled_from(
            [
                (3, lambda text: b"0" + text),
                (6, lambda text: b"0" + text),
                (7, stray_bits),
                (8, stray_bits),
                (7, lambda text: text[:-1]),
                (8, lambda text: text[:-1]),
                (4, bytes.upper),
                (5, lambda text: text[:-1] + b"z"),
                (9, lambda text: b"+ " + stray_bits(text[OLD_SALT]) + text[OLD_SALT.stop :]),
                (9, lambda text: b"+  " + text[2:]),
                *[(number, lambda text: text + b" ") for number in range(1, 9)],
                *[(number, lambda text: b" " + text) for number in range(1, 10)],
            ]
        )
    )

    def respell(entries: Entries) -> None:
        entries[seq - 1][line - 1] = change(entries[seq - 1][line - 1])

    return Tampered(tamper_entries(WHOLE, respell), seq)


@TAMPERINGS.caught_as("E_FORMAT")
def a_second_spelling_in_the_checkpoint(draw: Draw) -> Tampered:
    """Signed as it stands, yet not the text that a checkpoint has."""
    text = checkpoint_of(rows(), anchor=ANCHOR)
    origin, size, root = text.splitlines()
    assert origin == run_origin(ORIGIN, RUN)
    lines = draw(
        st.sampled_from(
            [
                (origin, f"0{size}", root),
                (origin, f"{size} ", root),
                (origin, size, stray_bits(root.encode()).decode()),
                (origin, size, root[:-1]),
                (origin, size, root, "extension"),
            ]
        )
    )
    note = sign_note("".join(f"{line}\n" for line in lines), LOG_KEY)
    return Tampered(tamper(WHOLE, "run.checkpoint", lambda _: note))


@TAMPERINGS.caught_as("E_NONCANONICAL")
def a_payload_in_another_spelling(draw: Draw) -> Tampered:
    """Duplicate keys, spaces, escapes, another order of keys, floats: recorded and signed by the server."""
    seq = draw(EVENTS)
    changed = rows()
    payload = changed[seq - 1].payload or b""
    number = b'"seq":%d' % seq
    fields = event(seq)
    turned = b",".join(encode({key: fields[key]})[1:-1] for key in sorted(fields, reverse=True))
    respelled = draw(
        st.sampled_from(
            [
                payload.replace(b'":', b'": ', draw(st.integers(1, len(fields)))),
                b"{ " + payload[1:],
                payload + b" ",
                payload[:-1] + b"," + number + b"}",
                payload.replace(number, number + b"," + number),
                payload.replace(b'"seq"', b'"\\u0073eq"'),
                payload.replace(number, number + b".0"),
                payload.replace(number, b'"seq":%de0' % seq),
                b"{" + turned + b"}",
            ]
        )
    )
    changed[seq - 1] = replace(changed[seq - 1], payload=respelled, payload_size=len(respelled))
    return Tampered(whole_bundle(changed), seq)


@TAMPERINGS.caught_as("E_HEADER_PAYLOAD_DISAGREE")
def a_record_at_odds_with_its_payload(draw: Draw) -> Tampered:
    """Type, seq, time and size; seq 1's run, the seal's count: signed by the server."""
    seq = draw(EVENTS)
    changed = rows()
    item, fields = changed[seq - 1], event(seq)
    times = st.integers(0, parse_time("2027-01-01T00:00:00.000Z")).map(format_time)
    said = [
        fields | {"seq": other(draw, st.integers(0, 100), seq)},
        fields | {"seq": str(seq)},
        fields | {"type": other(draw, TYPES, item.type)},
        fields | {"createdAt": other(draw, times, fields["createdAt"])},
        *([fields | {"runId": draw(OTHER_RUNS)}, fields | {"seq": True}] if seq == 1 else []),
        *([fields | {"lastPublicSeq": other(draw, st.integers(0, 100), seq - 1)}] if seq == SEAL else []),
    ]
    payload = encode(draw(st.sampled_from(said)))
    honest = replace(item, payload_size=other(draw, st.integers(0, 10**6), item.payload_size))
    changed[seq - 1] = draw(
        st.sampled_from([honest, replace(item, payload=payload, payload_size=len(payload))])
    )
    return Tampered(whole_bundle(changed), seq)
