"""One reader for every text: encodings are found or named, and no byte is lost in silence."""

import gzip
import io
import os
import random
import threading
from pathlib import Path

import pytest
import zstandard

from finerank.errors import InvalidInput, InvalidSetting, UnreadableFile
from finerank.io.decode import decode, open_lines, read_text, reading_as

CHINESE = "要重置路由器的管理员密码，请按住机身背面的重置按钮十秒钟，直到指示灯闪烁。"
TRADITIONAL = "請按住機身背面的重置按鈕十秒鐘，直到指示燈閃爍。退貨運費由誰承擔？"
JAPANESE = "返品の送料は誰が負担しますか？ルーターの背面のボタンを十秒間押してください。"
KOREAN = "라우터의 관리자 비밀번호를 재설정하려면 뒷면의 버튼을 십 초 동안 누르세요."
RUSSIAN = "Чтобы сбросить пароль маршрутизатора, удерживайте кнопку десять секунд."
FRENCH = "Le café près de la gare ouvre à neuf heures, même l’été – “très” tôt."
LEGACY = [
    ("gbk", CHINESE), ("gb18030", CHINESE + "𠀀"), ("gbk", "订单编号,客户,金额"), ("gbk", "你好"),
    ("big5", TRADITIONAL), ("shift_jis", JAPANESE), ("euc_jp", JAPANESE), ("iso2022_jp", JAPANESE),
    ("euc_kr", KOREAN), ("cp1251", RUSSIAN),
    ("koi8-r", RUSSIAN), ("cp1252", FRENCH), ("cp1252", "It’s 5 °C"), ("cp1252", "naïve"),
    ("cp1250", "Zażółć gęślą jaźń"),
]  # fmt: skip
WIDE = ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]


def read(content: bytes) -> tuple[str, list[str]]:
    problems: list[str] = []
    return decode(content, "a.txt", problems.append), problems


@pytest.mark.parametrize(("encoding", "text"), LEGACY)
@pytest.mark.parametrize("before", ["", "id,city,note\n1,x,y\n", "plain ascii\n" * 8000], ids=["alone", "csv", "late"])
def test_legacy_encodings_are_found_and_reported(encoding: str, text: str, before: str):
    content = f"{before}1,{text}\nok\n"
    found, problems = read(content.encode(encoding))
    assert found == content
    assert len(problems) == 1
    assert "or name its encoding with --encoding" in problems[0]


@pytest.mark.parametrize("text", [CHINESE, TRADITIONAL, JAPANESE, KOREAN, RUSSIAN, FRENCH, "plain"])
def test_unicode_is_read_with_and_without_a_mark(text: str):
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert read(f"{text}\nx\n".encode(encoding)) == (f"{text}\nx\n", [])
    for encoding in WIDE:
        found, problems = read(f"{text}\nx\n".encode(encoding))
        assert found == f"{text}\nx\n"
        assert [encoding in problem for problem in problems] == [True]


@pytest.mark.parametrize(
    "line", ["中文很好，每一行都是。\n", "C’est déjà l’été.\n", "Привет, мир.\n", "plain words only\n"]
)
@pytest.mark.parametrize("bad", [b"\xff", b"\xff\xfe\xff", b"\xe4\xb8", b"\xc3"])
def test_nearly_valid_utf8_stays_utf8_and_its_bad_bytes_are_named(line: str, bad: bytes):
    if line.isascii() and bad == b"\xc3":
        return  # a lone A with a tilde, as good a guess as any
    good = (line * 50).encode()
    found, [problem] = read(good + b"here " + bad + b" it is\n" + good)
    assert found.startswith(line * 50 + "here \ufffd")
    assert found.endswith(" it is\n" + line * 50)
    assert f"byte {len(good) + 5} (line 51)" in problem
    assert "not UTF-8" in problem


def test_many_bad_bytes_are_counted():
    _, [problem] = read((("很好的文字" * 3 + "\n") * 40).encode().replace(b"\n", b"\xff\n"))
    assert "40 byte sequences" in problem
    assert "and 35 more" in problem


def test_a_bad_byte_does_not_change_a_legacy_encoding():
    content = f"{CHINESE}\n".encode("gbk") * 20
    found, problems = read(content + b"\xff\n" + content)
    assert found.count(CHINESE) == 40
    assert ["gb18030" in problem for problem in problems] == [True, False]
    assert "GB18030" in problems[1]
    assert "line 21" in problems[1]


def test_one_accent_in_a_long_ascii_file_is_western():
    found, problems = read(b"plain text\n" * 5000 + b"caf\xe9 here\n" + b"more\n" * 40)
    assert "café here" in found
    assert "windows-1252" in problems[0]


@pytest.mark.parametrize(
    "content",
    [
        b"abc\0\0\1\2",
        b"\0\1",
        b"{}\0\1",
        b"\1\2\3\4",
        b"%PDF-1.7\nplain so far\n",
        b"\x89PNG\r\n\x1a\n",
        b"PK\x03\x04plain",
        b"\x7fELF",
        random.Random(0).randbytes(5000),
        random.Random(1).randbytes(5000).replace(b"\0", b"x"),
        b"text\n" * 30000 + b"\0\1\2",
        bytes(range(256)) * 8,
    ],
)
def test_what_is_no_text_is_refused(content: bytes):
    with pytest.raises(UnreadableFile, match="binary"):
        decode(content, "a.txt")


def test_a_named_encoding_is_used_and_a_mark_is_believed():
    with reading_as("cp1251"):
        assert decode("привет".encode("cp1251"), "a.txt") == "привет"
        assert decode("привет".encode("utf-16"), "a.txt") == "привет"
    with reading_as("gbk"):  # what files that say so hold is more
        assert decode("𠀀朝".encode("gb18030"), "a.txt") == "𠀀朝"
    with reading_as("utf-16-le"):
        assert decode("привет".encode("utf-16-le"), "a.txt") == "привет"
    problems: list[str] = []
    with reading_as("utf-8"):
        assert decode(b"caf\xe9", "a.txt", problems.append) == "caf\ufffd"
    assert "byte 3 (line 1)" in problems[0]
    with pytest.raises(InvalidSetting, match="encoding='utf-9': no such encoding"), reading_as("utf-9"):
        pass
    with pytest.raises(InvalidSetting, match="no such"), reading_as("base64"):
        pass


def test_html_that_names_its_encoding_is_believed():
    content = '<html><meta charset="euc-jp"><p>支払期限'.encode("euc_jp")
    assert read(content) == ('<html><meta charset="euc-jp"><p>支払期限', [])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "gb18030"])
def test_line_ends_are_of_one_kind(encoding: str):
    assert read("一\r\n二\r三\n四\r".encode(encoding))[0] == "一\n二\n三\n四\n"


def test_compressed_files_are_known_by_their_content(tmp_path: Path):
    for pack in (gzip.compress, zstandard.compress):
        (tmp_path / "a").write_bytes(pack(CHINESE.encode("gbk")))
        assert read_text(tmp_path / "a") == CHINESE
        (tmp_path / "a").write_bytes(pack(CHINESE.encode()) + pack(RUSSIAN.encode() * 9999))
        assert read_text(tmp_path / "a") == CHINESE + RUSSIAN * 9999
        for cut in (-1, -9, 20):
            (tmp_path / "a").write_bytes((pack(CHINESE.encode()) * 2)[:cut])
            with pytest.raises(InvalidInput, match="a: is damaged"):
                read_text(tmp_path / "a")
    with pytest.raises(InvalidInput, match="none: No such file"):
        read_text(tmp_path / "none")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030", "utf-16", "utf-16-le"])
def test_a_pipe_is_read_line_by_line(encoding: str):
    reading, writing = os.pipe()
    problems: list[str] = []
    with open(reading, "rb") as file, open(writing, "wb", buffering=0) as pipe:
        pipe.write(f"ascii\n{CHINESE}\n".encode(encoding))
        from finerank.io.decode import TextLines

        lines = iter(TextLines(file, "pipe", problems.append))
        assert next(lines) == "ascii\n"
        if not encoding.startswith("utf-16"):
            assert next(lines) == f"{CHINESE}\n"
        pipe.close()
        assert "".join(lines) == (f"{CHINESE}\n" if encoding.startswith("utf-16") else "")
    assert bool(problems) == (encoding in ("gb18030", "utf-16-le"))


def test_a_fifo_is_read(tmp_path: Path):
    os.mkfifo(tmp_path / "fifo")
    writer = threading.Thread(target=lambda: (tmp_path / "fifo").write_bytes(CHINESE.encode("gbk")))
    writer.start()
    assert read_text(tmp_path / "fifo") == CHINESE
    writer.join()


def test_how_much_was_read_is_known(tmp_path: Path):
    (tmp_path / "a").write_text("a\nbc\n", encoding="utf-8")
    with open_lines(tmp_path / "a") as lines:
        assert [(line, lines.done) for line in lines] == [("a\n", 2), ("bc\n", 5)]


def test_a_callers_file_stays_open():
    file = io.BytesIO(b"a\n")
    assert decode(file.getvalue(), "a") == "a\n"
    assert not file.closed
