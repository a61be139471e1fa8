"""`finerank rank` as a user meets it, on the default model."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from finerank import __version__ as finerank_version
from finerank.cli import build_app

QUERY = "how do I reset the router password?"
PASSAGES = [
    "Our routers come in black and white.",
    "To reset the password of the router, hold the reset button for ten seconds.",
    "The password policy asks for twelve characters.",
]


def run(*arguments: str, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(build_app(), ["rank", *arguments], input=stdin)


def test_candidates_on_standard_input_one_a_line():
    result = run(QUERY, "--jsonl", stdin="\n".join(PASSAGES) + "\n\n")
    assert result.exit_code == 0, result.output
    results = [json.loads(line) for line in result.stdout.splitlines()]
    assert [r["rank"] for r in results] == [1, 2, 3]
    assert results[0]["text"] == PASSAGES[1]
    assert results[0]["index"] == 1


def test_candidates_in_files_keep_their_path_as_id(tmp_path: Path):
    paths = []
    for number, passage in enumerate(PASSAGES):
        path = tmp_path / f"{number}.md"
        path.write_text(passage, encoding="utf-8")
        paths.append(str(path))
    ranking = json.loads(run(QUERY, *paths, "--json", "--top-n", "1").stdout)
    assert [r["id"] for r in ranking["results"]] == [paths[1]]
    assert ranking["usage"]["pairs"] == 3


def test_candidates_in_json_lines_keep_id_and_metadata(tmp_path: Path):
    docs = tmp_path / "docs.jsonl"
    lines = [
        json.dumps(PASSAGES[0]),
        json.dumps({"text": PASSAGES[1], "id": 7, "page": 3, "metadata": {"lang": "en"}}),
    ]
    docs.write_text("\n".join(lines), encoding="utf-8")
    best = json.loads(run(QUERY, "--docs", str(docs), "--json").stdout)["results"][0]
    assert (best["id"], best["metadata"]) == (7, {"page": 3, "lang": "en"})


def test_candidates_in_a_json_array(tmp_path: Path):
    docs = tmp_path / "docs.json"
    docs.write_text(json.dumps([PASSAGES[0], {"text": PASSAGES[1], "id": "reset"}], indent=1), encoding="utf-8")
    for arguments, stdin in ((str(docs), None), ("-", docs.read_text(encoding="utf-8"))):
        assert json.loads(run(QUERY, "--docs", arguments, "--json", stdin=stdin).stdout)["results"][0]["id"] == "reset"
    docs.write_text('["fine", 3]', encoding="utf-8")
    assert "document 2: a document is a string" in str(run(QUERY, "--docs", str(docs)).exception)


def test_files_in_another_encoding_are_read_and_binary_ones_refused(tmp_path: Path):
    path = tmp_path / "passage.txt"
    for encoding, warned in (("utf-8-sig", False), ("utf-16", False), ("cp1252", True)):
        path.write_text("Le café près de la gare ouvre à neuf heures, même l'été.", encoding=encoding)
        result = run(QUERY, str(path), "--json")
        assert json.loads(result.stdout)["results"][0]["text"].startswith("Le café")
        assert ("better convert it" in result.stderr) == warned
    path.write_bytes(bytes(range(256)) * 4)
    assert "passage.txt" in str(run(QUERY, str(path)).exception)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_standard_input_in_another_encoding_is_read(encoding: str):
    for arguments, text in (((), "Le café.\r\nÀ neuf heures."), (("--docs", "-"), '"Le café."\n"À neuf heures."')):
        result = run("café", *arguments, "--jsonl", stdin=text.encode(encoding))
        assert result.exit_code == 0, result.output
        assert {json.loads(line)["text"] for line in result.stdout.splitlines()} == {"Le café.", "À neuf heures."}


def test_a_mark_before_the_first_request_of_a_batch_is_passed_over():
    request = json.dumps({"query": QUERY, "documents": PASSAGES}).encode("utf-8-sig")
    (line,) = run("--batch", "-", stdin=request).stdout.splitlines()
    assert json.loads(line)["results"][0]["text"] == PASSAGES[1]


def test_candidates_that_gzip_compressed(tmp_path: Path):
    docs = tmp_path / "docs.jsonl.gz"
    docs.write_bytes(gzip.compress(json.dumps(PASSAGES[1]).encode()))
    for arguments, stdin in ((str(docs), None), ("-", docs.read_bytes())):
        (line,) = run(QUERY, "--docs", arguments, "--jsonl", stdin=stdin).stdout.splitlines()
        assert json.loads(line)["text"] == PASSAGES[1]
    docs.write_bytes(docs.read_bytes()[:-9])
    assert "docs.jsonl.gz: is damaged" in str(run(QUERY, "--docs", str(docs)).exception)


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("rank reset --docs - <&-", "standard input is closed: name files"),
        ("rank reset <&-", "standard input is closed: name files"),
        ("rank --batch - <&-", "standard input is closed: name files"),
        ("rank --batch - --out . </dev/null", "--out .: is a folder; name a file, such as rankings.jsonl"),
        ("rank reset --json </dev/null >/dev/full", "writing the output: No space left on device; make room there"),
        ("config >/dev/full", "writing the output: No space left on device; make room there"),
    ],
)
def test_what_the_system_refuses_is_told_in_a_line(command: str, complaint: str):
    completed = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m finerank {command}"], capture_output=True, text=True, check=False
    )
    assert completed.returncode == 1
    assert completed.stderr.startswith(f"finerank: {complaint}")
    assert completed.stderr.count("\n") == 1


def test_a_closed_standard_output_is_printed_nothing():
    command = f"echo {PASSAGES[0]} | {sys.executable} -m finerank rank reset --json >&-"
    completed = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (completed.returncode, completed.stderr) == (0, "")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"text": 3}', "string"),
        ("{", "line 2"),
        ('{"text": "a", "id": []}', "id"),
        ('{"text": "a", "metadata": 1}', "meta"),
    ],
)
def test_a_bad_json_line_is_named(tmp_path: Path, line: str, complaint: str):
    docs = tmp_path / "docs.jsonl"
    docs.write_text(f'"fine"\n{line}\n', encoding="utf-8")
    completed = finerank("rank", QUERY, "--docs", str(docs))
    assert completed.returncode == 1
    assert "line 2" in completed.stderr
    assert complaint in completed.stderr


def test_the_table_has_bars_scores_logits_and_marks(tmp_path: Path):
    long = tmp_path / "long.txt"
    long.write_text("The router. " * 600, encoding="utf-8")
    (tmp_path / "good.txt").write_text(PASSAGES[1], encoding="utf-8")
    result = run(QUERY, str(long), str(tmp_path / "good.txt"), "--threshold", "0.3")
    assert result.exit_code == 0, result.output
    good, bad = result.stdout.splitlines()[1:3]
    assert good.count("█") > bad.count("█")
    assert "[truncated]" in bad
    assert "1 truncated" in " ".join(result.stdout.split())


def test_the_threshold_colours_the_table_and_filters_json():
    arguments = (QUERY, "--threshold", "0.6")
    assert len(json.loads(run(*arguments, "--json", stdin="\n".join(PASSAGES)).stdout)["results"]) == 1
    table = run(*arguments, stdin="\n".join(PASSAGES)).stdout
    assert all(passage[:20] in table for passage in PASSAGES)


def test_explanations_are_shown_and_given_as_json():
    text = "Our routers come in black and white. " + PASSAGES[1]
    assert "without it the logit drops" in run(QUERY, "--explain", stdin=text).stdout
    (explained,) = json.loads(run(QUERY, "--explain", "--json", stdin=text).stdout)["results"]
    explanation = explained["explanation"]
    best = max(explanation["sentences"], key=lambda sentence: sentence["drop"])
    assert best["text"] == PASSAGES[1]
    assert set(explanation["faithfulness"]) == {"top_drop", "random_drop"}
    (line,) = run(QUERY, "--explain", "--jsonl", stdin=text).stdout.splitlines()
    assert json.loads(line)["explanation"] == explanation


def test_words_of_a_cleaned_document_are_shaded_where_they_stand():
    html = "<p>To <b class='x'>reset</b> the password, hold the reset button.</p>"
    (result,) = json.loads(run(QUERY, "--clean", "--explain", "--json", stdin=html).stdout)["results"]
    assert [html[slice(*word["span"])] for word in result["explanation"]["words"]][:3] == ["To", "reset", "the"]
    assert "reset</b>" in run(QUERY, "--clean", "--explain", stdin=html).stdout


def test_a_lone_surrogate_is_printed_as_its_escape(tmp_path: Path):
    docs = tmp_path / "docs.jsonl"
    docs.write_text('"half \\ud83d of it"\n', encoding="utf-8")
    for form in ("--json", "--jsonl"):
        completed = finerank("rank", QUERY, "--docs", str(docs), form)
        assert completed.returncode == 0, completed.stderr
        assert "half \\ud83d of it" in completed.stdout
    assert finerank("rank", QUERY, "--docs", str(docs)).returncode == 0


def test_markup_in_a_passage_is_printed_as_it_is():
    assert "[bold]reset[/bold]" in run(QUERY, stdin="[bold]reset[/bold] the router").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        ((), 2, "QUERY"),
        (("query", "--batch", "x"), 2, "QUERY"),
        (("query", "--out", "x"), 2, "--batch"),
        (("--batch", "x", "--explain"), 2, "--explain"),
        (("query", "no-such-file.txt"), 1, "no-such-file.txt"),
        ((" ", "--docs", "-"), 1, "query is empty"),
        (("\u200b", "--docs", "-"), 1, "query is empty"),
        (("query", "--docs", "-", "--threshold", "7"), 2, "between 0 and 1"),
        (("query", "--docs", "-", "--model", "./nowhere"), 1, "nowhere"),
        (("query", "--docs", "-", "--device", "tpu"), 2, "tpu"),
        (("query", "--no-such-option"), 2, "--no-such-option"),
    ],
)
def test_what_is_wrong_is_said_with_an_exit_code(arguments: tuple[str, ...], code: int, complaint: str):
    completed = finerank("rank", *arguments)
    assert (completed.returncode, completed.stdout) == (code, "")
    assert complaint in completed.stderr
    assert "Traceback" not in completed.stderr


def test_a_closed_pipe_is_no_crash():
    command = f"{sys.executable} -m finerank rank {QUERY.split()[0]} --jsonl | head -c 1"
    completed = subprocess.run(
        ["bash", "-c", command],
        input="\n".join(["some text"] * 3000),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in completed.stderr


def test_the_installed_command_answers():
    completed = finerank("--version")
    assert completed.returncode == 0
    assert completed.stdout.strip() == finerank_version


def finerank(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "finerank", *arguments]
    return subprocess.run(command, input="", capture_output=True, text=True, check=False)
