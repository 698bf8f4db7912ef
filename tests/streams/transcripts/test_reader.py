"""Reading a transcript, whatever happened to the file."""

import json
from pathlib import Path

import pytest

from streams import transcripts
from streams.transcripts.formats import one_line
from streams.transcripts.reader import records_in

RECORDS = [
    {"parentUuid": None, "uuid": "1", "message": {"content": [{"type": "text", "text": "a"}]}},
    {"parentUuid": "1", "uuid": "2", "content": [{"input": {"info": {"parts": "}"}, "x": {"info": 1}}}]},
    {"info": {"id": "3"}, "parts": [{"info": {}}, {}]},
]
LINES = [json.dumps(record, separators=(",", ":")).encode() for record in RECORDS]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.jsonl"


def test_records_in_order(path: Path) -> None:
    """One per line; each iteration starts anew."""
    path.write_bytes(b"\n".join(LINES) + b"\n")
    stored = transcripts.read(path)
    assert list(stored) == list(stored) == RECORDS
    assert stored.torn == 0


def test_a_file_cut_anywhere(path: Path) -> None:
    """T5: at every byte offset: all complete records parse, at most one is torn and is counted."""
    whole = b"\n".join(LINES) + b"\n"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        stored = transcripts.read(path)
        complete = [
            record
            for number, record in enumerate(RECORDS)
            if size >= len(b"\n".join(LINES[: number + 1]))
        ]
        assert list(stored) == complete
        assert stored.torn == (whole[:size].rpartition(b"\n")[2] not in (b"", *LINES))


def test_fused_records_are_told_apart(path: Path) -> None:
    """T5: a kill between a record and its end of line, and a writer that went on (claude-code#52387)."""
    path.write_bytes(LINES[0] + LINES[1] + b"\n" + LINES[2] + b"\n")
    assert list(transcripts.read(path)) == RECORDS


def test_a_torn_record_does_not_take_the_next_with_it(path: Path) -> None:
    """T5: a kill within a record, and a writer that went on in the same line (oh-my-pi#8596)."""
    for size in range(1, len(LINES[0])):
        path.write_bytes(LINES[0][:size] + LINES[1] + b"\n" + LINES[2] + b"\n")
        stored = transcripts.read(path)
        assert list(stored) == RECORDS[1:]
        assert stored.torn == 1


def test_any_number_in_a_line(path: Path) -> None:
    """However many, with a torn one before them."""
    path.write_bytes(LINES[0][:9] + b"".join(LINES) + b"\n")
    stored = transcripts.read(path)
    assert list(stored) == RECORDS
    assert stored.torn == 1


def test_padding_with_nul_is_skipped(path: Path) -> None:
    """T5: what a file system leaves after a power cut (claude-code#49876)."""
    path.write_bytes(b"\0" * 4096 + LINES[0] + b"\n" + b"\0" * 100 + b"\n" + LINES[1] + b"\0\0\n")
    stored = transcripts.read(path)
    assert list(stored) == RECORDS[:2]
    assert stored.torn == 0


def test_strictly_a_torn_line_is_an_error(path: Path) -> None:
    """It says where."""
    path.write_bytes(LINES[0] + b"\n" + LINES[1][:20] + b"\n")
    with pytest.raises(transcripts.TornLine, match=r"s\.jsonl, line 2 is no record: b'"):
        list(transcripts.read(path, strict=True))


def test_lines_end_at_newlines_only(path: Path) -> None:
    """T6: what other line breaks a text has in it is not the reader's concern."""
    record = {"type": "x", "text": "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"}
    path.write_text(json.dumps(record, ensure_ascii=False) + "\n", encoding="utf-8")
    assert list(transcripts.read(path)) == [record]


def test_no_such_file(path: Path) -> None:
    """It is said at once."""
    with pytest.raises(FileNotFoundError):
        transcripts.read(path)


def test_a_hostile_line_costs_little() -> None:
    """Many places at which a record might begin: few are tried."""
    assert records_in(b'{"type":' * 100_000) == ([], True)


def test_one_line_says_the_same() -> None:
    """T6: no reader finds a line break in it, and it means what it meant."""
    said = {"text": "a\nb\r\nc\u2028d\u2029e\x85f\x0bg\u2027h", "\u2028": 1}
    for body in (json.dumps(said, ensure_ascii=False), json.dumps(said, ensure_ascii=False, indent=2)):
        line = one_line(body.encode())
        assert len(line.decode().splitlines()) == 1
        assert json.loads(line) == said
