"""Goal: text files as others write them give the same lines, or are refused by name.

Method: the same three lines in every form that a shell, an editor or a table program leaves.
"""

import gzip
import json

import pytest

from files.lines import read_lines, read_rows, read_whole

ROWS = [{"a": "é❤️"}, {"b": "two words\u2028one line\x85"}, {"c": 3}]
LINES = [json.dumps(row, ensure_ascii=False) for row in ROWS]
TEXT = "\n".join(LINES)


def gz(*parts: str) -> bytes:
    """One member for each part."""
    return b"".join(gzip.compress(part.encode()) for part in parts)


FORMS = {
    "plain": TEXT.encode(),
    "ended": TEXT.encode() + b"\n",
    "bom": TEXT.encode("utf-8-sig"),
    "crlf": TEXT.replace("\n", "\r\n").encode(),
    "cr": TEXT.replace("\n", "\r").encode(),
    "spaces": TEXT.replace("\n", " \t\n  ").encode(),
    "gzip": gz(TEXT),
    "gzip with bom and crlf": gzip.compress(TEXT.replace("\n", "\r\n").encode("utf-8-sig")),
    "members": gz(LINES[0] + "\n", "", LINES[1] + "\n" + LINES[2][:3], LINES[2][3:]),
    "members with a mark each": b"".join(
        gzip.compress(line.encode("utf-8-sig") + b"\n") for line in LINES
    ),
    "padded with zeros": gz(TEXT) + b"\0" * 512,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["x.jsonl", "x.ndjson", "x"])
def test_every_form_gives_the_same_lines(form, name, tmp_path):
    path = tmp_path / name
    path.write_bytes(FORMS[form])
    assert list(read_rows(path)) == list(enumerate(ROWS, 1))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_blank_lines_count_in_the_numbers(end, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(end.join(["", '{"a":1}', " ", "", '{"b":2}', "", ""]).encode())
    assert [number for number, _ in read_lines(path)] == [2, 5]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (TEXT.encode("utf-16"), "UTF-16"),
        (TEXT.encode("utf-32"), "UTF-32"),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), "UTF-16"),
        (TEXT.encode("utf-16-le"), "UTF-16 or UTF-32 without a mark"),
        (TEXT.encode("utf-16-be"), "UTF-16 or UTF-32 without a mark"),
        (TEXT.encode("utf-32-be"), "UTF-16 or UTF-32 without a mark"),
        (gzip.compress(TEXT.encode("utf-16")), "UTF-16"),
        (b"PK\x03\x04rest", "a zip archive"),
        (b"\x28\xb5\x2f\xfdrest", "zstd"),
        (b"PAR1rest", "parquet"),
        (b"\x00\x01\x02\x03\x04\x05\x06\x07\x08", "no text"),
        (b" \n[" + ",".join(LINES).encode() + b"]", "one JSON array"),
        (b"\xef\xbb\xbf[]", "one JSON array"),
    ],
)
def test_what_is_no_such_text_is_refused_by_name(content, name, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"x.jsonl is {name}"):
        list(read_lines(path))


@pytest.mark.parametrize("rest", [b"garbage", b"\x1f\x8bmore"])
def test_what_follows_an_archive_is_damage(rest, tmp_path):
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gz(TEXT + "\n") + rest)
    with pytest.raises(ValueError, match=r"x.jsonl.gz is damaged"):
        list(read_lines(path))


def test_a_cut_archive_and_a_false_name_are_damage(tmp_path):
    path = tmp_path / "x.jsonl.gz"
    for content in (gz(TEXT)[:-9], b"\x1f\x8b\x08", TEXT.encode()):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="damaged"):
            list(read_lines(path))


def test_another_archive_under_the_name_of_gzip_is_named(tmp_path):
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(b"PK\x03\x04rest")
    with pytest.raises(ValueError, match=r"x\.jsonl\.gz is a zip archive"):
        list(read_lines(path))


def test_a_folder_a_missing_file_and_an_empty_one(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder"):
        list(read_lines(tmp_path))
    with pytest.raises(FileNotFoundError, match="is no file"):
        list(read_lines(tmp_path / "x"))
    (tmp_path / "x").touch()
    assert list(read_lines(tmp_path / "x")) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "no JSON"),
        (b'{"a":"\xff"}', "no JSON"),
        (b"3", "no JSON object"),
        (b'{"a":"\\ud83d"}', "no JSON"),
        (b'{"a":' + b"9" * 5_000 + b"}", "no JSON"),
        (b'{"a":' + b"[" * 100_000, "no JSON"),
    ],
)
def test_a_row_that_is_none_is_named_with_file_and_line(line, said, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a":1}\n\n' + line)
    with pytest.raises(ValueError, match=rf"x.jsonl:3 is {said}"):
        list(read_rows(path))


def test_a_whole_text_is_read_the_same_way(tmp_path):
    path = tmp_path / "x.toml"
    path.write_bytes("[a]\r\nb = 'é'\r\n".encode("utf-8-sig"))
    assert read_whole(path) == "[a]\nb = 'é'\n"
    path.write_bytes(b"[a]\nb = '\xff'\n")
    with pytest.raises(ValueError, match=r"x.toml:2 is not UTF-8"):
        read_whole(path)
    path.write_bytes("[a]".encode("utf-16"))
    with pytest.raises(ValueError, match="UTF-16"):
        read_whole(path)
