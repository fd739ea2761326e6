"""Pairs in the shapes that people have: conversations, documents of JSON, Parquet, tables of spreadsheets, folders."""

from __future__ import annotations

import gzip
import io
import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SHARED
from training.data import DataError, Fields, Pair, PairSet
from training.data.pairs import open_pairs

FIELDS = Fields("prompt", "reply")


def opened(path: Path, content: str | bytes, encoding: str | None = None, most_bad: float = 0.01) -> PairSet:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_pairs(str(path), 0, FIELDS, most_bad, encoding)


def all_of(data: PairSet) -> set[Pair]:
    return {*data.pairs, *data.held_out}


def records(count: int = 4) -> list[dict[str, str]]:
    return [{"prompt": f"question {number}", "reply": f"answer {number}"} for number in range(count)]


WANTED = {Pair((f"question {number}",), f"answer {number}") for number in range(4)}
MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "Be short."},
    {"role": "User", "content": [{"type": "text", "text": "Hello"}, {"type": "image_url", "image_url": {"url": "x"}}]},
    {"role": "assistant", "content": "Hi!"},
    {"role": "user", "content": "How warm is it?"},
    {"role": "assistant", "content": None, "tool_calls": []},
    {"role": "tool", "content": "20 degrees"},
    {"role": "assistant", "content": "It is warm."},
]
CHAT = {
    Pair(("Hello",), "Hi!"),
    Pair(("Hello", "Hi!", "How warm is it?", "20 degrees"), "It is warm."),
}


@pytest.mark.parametrize("key", ["messages", "conversations"])
def test_every_answer_of_a_conversation_is_a_pair(tmp_path: Path, key: str) -> None:
    names = {"User": "human", "assistant": "gpt"}
    turns = MESSAGES
    if key == "conversations":
        turns = [{"from": names.get(t["role"], t["role"]), "value": t["content"]} for t in MESSAGES]
    data = opened(tmp_path / "my.jsonl", json.dumps({"id": 7, key: turns}) + "\n")
    assert all_of(data) == CHAT
    assert data.lost == 0


def test_a_conversation_may_be_a_list_or_have_another_name(tmp_path: Path) -> None:
    lists = "\n".join(json.dumps(MESSAGES) for _ in range(2))
    assert all_of(opened(tmp_path / "my.jsonl", lists)) == CHAT
    assert all_of(opened(tmp_path / "my.json", json.dumps([MESSAGES, MESSAGES]))) == CHAT
    assert all_of(opened(tmp_path / "my.jsonl", json.dumps({"turns": MESSAGES}))) == CHAT
    with pytest.raises(DataError, match="there is no field 'prompt'"):
        opened(tmp_path / "my.jsonl", json.dumps({"items": [{"price": 3}]}))


@pytest.mark.parametrize("world", ["reports", "smalltalk"])
def test_a_folder_with_the_name_of_a_world_is_not_passed_over_in_silence(workspace: Path, world: str) -> None:
    assert open_pairs(world, 5, FIELDS).notes == ()
    Path(world).mkdir()
    told = f"--data {world} is the world of this name; for the file or folder give --data ./{world}"
    assert open_pairs(world, 5, FIELDS).notes == (told,)
    Path(world, "my.jsonl").write_text("\n".join(map(json.dumps, records())))
    assert all_of(open_pairs(f"./{world}", 5, FIELDS)) == WANTED


def test_a_path_in_the_home_of_a_user_is_found(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(workspace))
    Path("my.jsonl").write_text("\n".join(map(json.dumps, records())))
    assert all_of(open_pairs("~/my.jsonl", 0, FIELDS)) == WANTED


def test_a_conversation_of_one_pair_is_a_document_and_its_summary(tmp_path: Path) -> None:
    turns = [
        [
            {"from": "system", "value": "Summarise."},
            {"from": "human", "value": f"long {n}"},
            {"from": "gpt", "value": "s"},
        ]
        for n in range(3)
    ]
    data = opened(tmp_path / "my.json", json.dumps([{"conversations": turn} for turn in turns], indent=2))
    assert all_of(data) == {Pair((f"long {n}",), "s") for n in range(3)}


def test_a_conversation_is_on_one_side(tmp_path: Path) -> None:
    """Else the answer that is measured would stand among the turns that were learned from."""
    chats = []
    for number in range(60):
        said = [(role, f"{role} {number} {turn}") for turn in range(4) for role in ("user", "assistant")]
        chats.append({"messages": [{"role": role, "content": text} for role, text in said]})
    data = opened(tmp_path / "my.json", json.dumps(chats))
    assert len(all_of(data)) == 240
    learned, measured = ({pair.source[0] for pair in part} for part in (data.pairs, data.held_out))
    assert not learned & measured
    assert (len(learned), len(measured)) == (54, 6)


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([{"role": "narrator", "content": "x"}], "turn 1 is of 'narrator', wanted a role such as user, assistant"),
        ([{"content": "x"}], "turn 1 has no 'role'"),
        ([{"role": "user", "content": ""}, {"role": "assistant", "content": "x"}], "turn 1, of 'user', holds no text"),
        ([{"role": "user", "content": 3}], "turn 1 holds no text in 'content'"),
        ([{"role": "assistant", "content": "x"}], "the conversation holds no turn of an assistant behind another one"),
        ([{"role": "user", "content": "\ud800"}, {"role": "assistant", "content": "x"}], "holds half a character"),
    ],
)
def test_a_turn_that_cannot_be_read_costs_its_conversation(tmp_path: Path, turns: list[object], reason: str) -> None:
    lines = [*({"messages": MESSAGES} for _ in range(3)), {"messages": turns}]
    data = opened(tmp_path / "my.jsonl", "".join(json.dumps(line) + "\n" for line in lines), most_bad=0.5)
    assert all_of(data) == CHAT
    assert reason in data.skipped[0]
    assert data.skipped[0].startswith("my.jsonl:4: ")


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(records(), indent=1),
        json.dumps(records()),
        json.dumps({"version": 1, "data": records()}, indent=1),
        "\n".join(map(json.dumps, records())),
        "\n".join(json.dumps(record, indent=1) for record in records()),
    ],
    ids=["list", "line", "object", "lines", "objects"],
)
@pytest.mark.parametrize("name", ["my.json", "my.jsonl", "my.json.gz"])
def test_documents_of_json_are_read(tmp_path: Path, content: str, name: str) -> None:
    if name == "my.jsonl" and content[0] == "{" and "\n " in content:
        return  # objects over several lines are no JSON lines
    data = opened(tmp_path / name, gzip.compress(content.encode()) if name.endswith(".gz") else content)
    assert all_of(data) == WANTED


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"prompt": "a", "reply": "b"},\n{"prompt": }]', "my.json is not JSON from line 2 on"),
        ('[{"prompt": "a", "reply": "b"},\n{"prompt": "c", "reply": "d"}\n', "my.json ends within a list"),
        ("[" * 200_000, "nested too deeply"),
        ("[]", "holds no pairs"),
    ],
)
def test_a_broken_document_is_refused_with_the_place(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        opened(tmp_path / "my.json", content)


@pytest.mark.parametrize("name", ["my.jsonl", "my.json"])
def test_a_key_that_comes_twice_is_no_record(tmp_path: Path, name: str) -> None:
    lines = [*map(json.dumps, records(4)), '{"prompt": "a", "reply": "first", "reply": "second"}']
    data = opened(tmp_path / name, "\n".join(lines), most_bad=0.2)
    assert data.skipped == (f"{name}:5: the key 'reply' comes twice in one object",)
    assert all_of(data) == WANTED


def test_a_column_that_comes_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"my\.csv has 2 columns called 'reply': rename all but one of them"):
        opened(tmp_path / "my.csv", "prompt,reply,reply\na,b,c\nd,e,f\n")
    assert len(all_of(opened(tmp_path / "my.csv", "prompt,reply,,\na,b,,\nd,e,,\n"))) == 2


@pytest.mark.parametrize(
    ("name", "mark", "first"),
    [("my.csv", ";", ""), ("my.csv", "\t", ""), ("my.tsv", ",", ""), ("my.csv", ";", "sep=;\r\n"), ("my.csv", "|", "")],
)
def test_the_delimiter_is_found(tmp_path: Path, name: str, mark: str, first: str) -> None:
    rows = [["prompt", "reply"], *([r["prompt"], r["reply"]] for r in records())]
    content = first + "".join(mark.join(row) + "\r\n" for row in rows)
    assert all_of(opened(tmp_path / name, content)) == WANTED
    decimals = "prompt;reply\r\n" + "".join(f"cost {n};1,{n}\r\n" for n in range(4))
    assert all_of(opened(tmp_path / "my.csv", decimals)) == {Pair((f"cost {n}",), f"1,{n}") for n in range(4)}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-32"])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".json", ".txt"])
def test_a_mark_says_the_encoding(tmp_path: Path, encoding: str, suffix: str) -> None:
    shapes = {
        ".csv": "prompt,reply\n" + "".join(f"{r['prompt']},{r['reply']}\n" for r in records()),
        ".jsonl": "\n".join(map(json.dumps, records())),
        ".json": json.dumps(records()),
        ".txt": "".join(f"Q: {r['prompt']}\nA: {r['reply']}\n\n" for r in records()),
    }
    assert all_of(opened(tmp_path / f"my{suffix}", shapes[suffix].encode(encoding))) == WANTED


@pytest.mark.parametrize(
    ("text", "encoding", "told"),
    [
        ("Où est le café ? {n},Il est là-bas près de l'église.", "cp1252", "Windows-1252; pass --encoding cp1252"),
        ("Где моя тетрадь {n},Она лежит на столе", "cp1251", "Windows-1251 (Cyrillic); pass --encoding cp1251"),
        ("你好吗今天天气怎么样 {n},我很好谢谢你的关心", "gb18030", "GB18030 (Chinese); pass --encoding gb18030"),
        ("これはどこですか {n},それはあそこにあります", "shift_jis", "Shift JIS; pass --encoding shift_jis"),
    ],
)
def test_an_encoding_is_named_and_taken(tmp_path: Path, text: str, encoding: str, told: str) -> None:
    rows = [text.format(n=n) for n in range(5)]
    content = "\n".join(["prompt,reply", *rows]).encode(encoding)
    with pytest.raises(DataError, match=re.escape(f"my.csv is not UTF-8: it looks like {told}")):
        opened(tmp_path / "my.csv", content)
    data = opened(tmp_path / "my.csv", content, encoding)
    assert all_of(data) == {Pair((row.split(",")[0],), row.split(",")[1]) for row in rows}


def test_utf_16_without_a_mark_is_named(tmp_path: Path) -> None:
    content = "prompt,reply\na,b\nc,d\n".encode("utf-16-le")
    with pytest.raises(DataError, match="looks like UTF-16 without a byte order mark; pass --encoding utf-16-le"):
        opened(tmp_path / "my.csv", content)
    assert len(all_of(opened(tmp_path / "my.csv", content, "utf-16-le"))) == 2
    with pytest.raises(DataError, match=r"my\.csv is not utf-16: .*; pass the name of its encoding"):
        opened(tmp_path / "my.csv", b"\xff\xfea\x00\x00\xd8")


def test_questions_and_answers_are_read(tmp_path: Path) -> None:
    content = "\r\nQ: Where is it?\r\nIs it here?\r\nA: It is\r\n\r\nthere.\r\n\r\nquestion: Why?\r\nAnswer: So.\r\n"
    assert all_of(opened(tmp_path / "dialogs.txt", content)) == {
        Pair(("Where is it? Is it here?",), "It is there."),
        Pair(("Why?",), "So."),
    }
    alone = "".join(f"Q: q{n}\nA: a{n}\n" for n in range(99)) + "Q: alone\nQ: last\nA: a\n"
    data = opened(tmp_path / "dialogs.txt", alone)
    assert data.skipped == ("dialogs.txt:199: the question has no answer below it (a line that begins with 'A:')",)


def test_lines_with_a_tab_are_pairs_without_a_header(tmp_path: Path) -> None:
    content = "".join(f"{record['prompt']}\t{record['reply']}\n" for record in records())
    assert all_of(opened(tmp_path / "dialogs.txt", content)) == WANTED
    assert all_of(opened(tmp_path / "dialogs.txt", f"prompt\treply\n{content}".encode("utf-16"))) == WANTED
    with pytest.raises(DataError, match=r"the suffix of my\.txt is \.txt; .*\(lines that begin with 'Q:' and 'A:'"):
        opened(tmp_path / "my.txt", "just\ntexts\n")


def test_a_table_without_a_header_is_noticed(tmp_path: Path) -> None:
    message = r"the first row of my\.tsv reads like a pair .*put a row with 'prompt' and 'reply' before it"
    with pytest.raises(DataError, match=message):
        opened(tmp_path / "my.tsv", "Hi, how are you?\tI am fine, thanks.\nWhat is new?\tNothing at all.\n")


def test_parquet_is_read(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow of requirements/train.txt is not installed")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(records()), tmp_path / "my.parquet")
    assert all_of(open_pairs(str(tmp_path / "my.parquet"), 0, FIELDS)) == WANTED
    turns = [
        {"role": t["role"], "content": "Hello" if isinstance(t["content"], list) else t["content"]} for t in MESSAGES
    ]
    parquet.write_table(pyarrow.Table.from_pylist([{"messages": turns}] * 300), tmp_path / "chat.parquet")
    assert all_of(open_pairs(str(tmp_path / "chat.parquet"), 0, FIELDS)) == CHAT
    whole = (tmp_path / "my.parquet").read_bytes()
    with pytest.raises(DataError, match=r"my\.parquet is no whole Parquet file"):
        opened(tmp_path / "my.parquet", whole[: len(whole) // 2])


def test_parquet_without_its_package_says_what_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        DataError, match=r"my\.parquet needs the package pyarrow.*run requirements/install\.sh, or save"
    ):
        opened(tmp_path / "my.parquet", b"PAR1")


def test_folders_and_archives_of_files_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "pairs"
    (folder / "more").mkdir(parents=True)
    (folder / ".ipynb_checkpoints").mkdir()
    contents = {
        "a.csv": b"prompt,reply\nquestion 0,answer 0\nquestion 1,answer 1\n",
        "more/b.jsonl.gz": gzip.compress("\n".join(map(json.dumps, records()[2:])).encode()),
        ".ipynb_checkpoints/a-checkpoint.csv": b"prompt,reply\nhidden,hidden\n",
        "._a.csv": b"\0\5",
        "table.xlsx": b"PK",
        "notes.md": b"x",
        "LICENSE.txt": b"You may use it.",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    data = open_pairs(str(folder), 0, FIELDS)
    assert all_of(data) == WANTED
    assert data.name == "pairs-4"
    assert data.notes == (
        "pairs: left out 2 hidden files such as ._a.csv",
        "pairs: not read: 1 file of .md, 1 file of .xlsx (save them as CSV)",
        "pairs/LICENSE.txt is not read: it holds no questions and answers",
    )
    with zipfile.ZipFile(tmp_path / "my.csv.zip", "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
        archive.writestr("__MACOSX/._b.csv", b"\0")
    assert all_of(open_pairs(str(tmp_path / "my.csv.zip"), 0, FIELDS)) == WANTED
    both = f"{folder / 'a.csv'},{folder / 'more'}"
    assert all_of(open_pairs(both, 0, FIELDS)) == WANTED
    (tmp_path / "a, b.csv").write_bytes(contents["a.csv"])
    assert len(all_of(open_pairs(f"{tmp_path / 'a, b.csv'},{folder / 'more'}", 0, FIELDS))) == 4


def test_an_archive_without_pairs_says_what_it_holds(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "my.zip", "w") as archive:
        archive.writestr("inner.zip", b"x")
    with pytest.raises(
        DataError, match=r"holds no such file; .*it holds none \(not read: 1 file of \.zip \(unpack them\)\)"
    ):
        open_pairs(str(tmp_path / "my.zip"), 0, FIELDS)
    (tmp_path / "my.zip").write_bytes(b"PK\3\4 damaged")
    with pytest.raises(DataError, match=r"my\.zip cannot be opened as a \.zip file"):
        open_pairs(str(tmp_path / "my.zip"), 0, FIELDS)


def test_the_files_of_one_set_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.data.documents.MAX_ALL_BYTES", 200)
    (tmp_path / "pairs").mkdir()
    for name in "abc":
        (tmp_path / f"pairs/{name}.jsonl").write_text("\n".join(map(json.dumps, records(2))))
    with pytest.raises(DataError, match=r"the files have over 200 bytes \(at pairs/c\.jsonl\): give a part of them"):
        open_pairs(str(tmp_path / "pairs"), 0, FIELDS)


@pytest.mark.parametrize("name", ["topical_chat.jsonl.gz", "chatterbot.jsonl.gz"])
def test_real_conversations_are_the_same_in_every_shape(tmp_path: Path, name: str) -> None:
    real = SHARED / "dialogue" / name
    if not real.exists():
        pytest.skip("no shared data set of conversations")
    lines = gzip.decompress(real.read_bytes()).decode().splitlines()[:500]
    wanted = opened(tmp_path / "my.jsonl", "\n".join(lines))
    pairs = [json.loads(line) for line in lines]
    chat = [{"messages": [_turn("user", p["prompt"]), _turn("assistant", p["reply"])]} for p in pairs]
    assert opened(tmp_path / "my.json", json.dumps(chat)).sha256 == wanted.sha256
    table = io.StringIO(newline="")
    table.write("prompt;reply\r\n")
    for pair in pairs:
        table.write(";".join('"{}"'.format(text.replace('"', '""')) for text in pair.values()) + "\r\n")
    assert opened(tmp_path / "my.csv", table.getvalue().encode("utf-16")).sha256 == wanted.sha256


def _turn(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}
