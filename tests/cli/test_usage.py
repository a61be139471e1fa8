"""Every command with what is wrong: one line that names the value and the fix, the right exit code, no work before."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from finerank import cli
from finerank.cli import COMMANDS
from finerank.errors import FinerankError
from finerank.rag.gate import Effect, Evidence, read_evidence, write_evidence
from finerank.retrieval.store import Store

Finerank = Callable[..., tuple[int, str, str]]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a few files."""
    for name, text in {
        "a.txt": "Hold the reset button.",
        "b.md": "# Care",
        "pairs.jsonl": '{"query": "q", "passage": "p", "label": 1}\n',
    }.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def finerank(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Finerank:
    """Runs the command: its exit code, standard output and standard error."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["finerank", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a model and reading standard input fail the test."""

    def too_early(*_: object, **__: object) -> None:
        raise AssertionError("work was begun")

    monkeypatch.setattr("finerank.cli.options.load_reranker", too_early)
    monkeypatch.setattr("finerank.cli.candidates.standard_input", too_early)


USAGE = [
    ("rank", "give a QUERY, or --batch FILE"),
    ("rank q --threshold 9", "threshold=9.0: scores lie between 0 and 1"),
    ("rank q --threshold nan", "threshold=nan: scores lie between 0 and 1"),
    ("rank q --threshold abc", "'abc'"),
    ("rank q --top-n -1", "-1"),
    ("rank q --max-length 3", "max_length=3: must be at least 8"),
    ("rank q --batch-tokens 0", "batch_tokens=0: must be at least 1"),
    ("rank q --dtype fp61", "dtype='fp61': must be one of auto, fp32"),
    ("rank q --device tpu", "device='tpu': must be auto, cpu"),
    ("rank q --template x", "must contain {query}"),
    ("rank q --modle x", "--modle; did you mean --model"),
    ("rank q --device", "--device"),
    ("rnak", "Did you mean 'rank'"),
    ("serch q", "'search'"),
    ("search", "question"),
    ("search q", "--store"),
    ("search q -s x --recall 0", "recall=0: must be at least 1"),
    ("search q -s x --where y", "where 'y': must be name=value"),
    ("ask q -s x --threshold 2", "threshold=2.0: must lie between 0 and 1"),
    ("ask q -s x --gate maybe", "gate='maybe': must be one of"),
    ("index", "docs"),
    ("index a.txt", "--store"),
    ("index a.txt -s x --metadata y", "--metadata y: must be name=value"),
    ("index a.txt -s x --passage-terms 0", "passage_terms=0: must be at least 1"),
    ("index a.txt -s x --embedder ./nope", "embedder=./nope: no such folder"),
    ("index a.txt -s x --embedder a.txt", "embedder=a.txt: is a file"),
    ("serve --port 99999", "port=99999: ports end at 65535"),
    ("serve --timeout-s nan", "timeout_s=nan: must be more than 0"),
    ("serve --alert-webhook foo", "alert_webhook: must be http://host/..."),
    ("serve --max-documents 0", "max_documents=0: must be at least 1"),
    ("serve --device tpu --model nope", "device='tpu'"),
    ("mcp --max-length 3", "max_length=3: must be at least 8"),
    ("config x", "x"),
    ("evaluate", "name SETS"),
    ("evaluate folder --measures foo", "'foo'"),
    ("evaluate folder --depth 0", "0"),
    ("evaluate folder --dtype fp61", "dtype='fp61'"),
    ("calibrate", "data"),
    ("calibrate pairs.jsonl --precision 1.9", "precision=1.9: must be above 0 and at most 1"),
    ("calibrate pairs.jsonl --precision nan", "precision=nan: must be above 0 and at most 1"),
    ("calibrate pairs.jsonl --recall 0", "recall=0.0: must be above 0 and at most 1"),
    ("calibrate pairs.jsonl --recall 0.5 --precision 0.5", "give one of them"),
    ("calibrate pairs.jsonl --method foo", "method='foo': must be one of platt, isotonic"),
    ("calibrate pairs.jsonl --device tpu", "device='tpu'"),
    ("demo --lang xx", "lang='xx'"),
    ("doctor --device tpu", "device='tpu'"),
    ("export", "model"),
    ("export finerank-mini out --precision fp61", "precision='fp61': must be one of fp32, int8"),
    ("mine", "data"),
    ("mine pairs.jsonl --out x --negatives 0", "negatives=0: must be at least 1"),
    ("mine pairs.jsonl --out x --ranks 9-2", "ranks=(9, 2)"),
    ("mine pairs.jsonl --out x --margin nan", "margin=nan: must be a number"),
    ("mine pairs.jsonl --out x --format foo", "--format foo: must be one of auto, finerank"),
    ("mine pairs.jsonl --out x --device tpu", "device='tpu'"),
    ("train", "model"),
    ("train nope pairs.jsonl --out x --dev-share 2", "--dev-share 2.0: must be between 0 and 1"),
    ("train nope pairs.jsonl --out x --set learning_rat=1", "did you mean learning_rate?"),
    ("train nope pairs.jsonl --out x --set augment.typso=0.1", "did you mean typos?"),
    ("train nope pairs.jsonl --out x --set learning_rate=nan", "learning_rate=nan: must be a finite number"),
    ("train nope pairs.jsonl --out x --set loss=lambda --set loss.x=1", "--set loss.x=1: loss is 'lambda'"),
    ("train nope pairs.jsonl --out x --set augment.dictionary=3", "dictionary=3: must be a file's path"),
    ("pretrain", "model"),
    ("pretrain nope a.txt --out x --set mlm_wieght=1", "did you mean mlm_weight?"),
]


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(("command", "complaint"), USAGE, ids=[command for command, _ in USAGE])
def test_a_wrong_command_line_is_refused_in_a_line_with_exit_code_2(
    command: str, complaint: str, finerank: Finerank
) -> None:
    code, out, err = finerank(*command.split())
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith("finerank: ")
    assert complaint in err


FAILURES = [
    ("rank q nope.txt", "nope.txt: No such file"),
    ("rank q folder", "folder: is a folder; name its files"),
    ("rank q --docs folder", "folder: is a folder"),
    ("rank --batch nope", "--batch nope: no such file"),
    ("rank --batch a.txt --out folder", "--out folder: is a folder; name a file"),
    ("rank q a.txt --model finerank-mni", "did you mean finerank-mini?"),
    ("rank q a.txt --model a.txt", "model 'a.txt': is a file; name the model's folder"),
    ("search q -s nope", "nope: holds no store; make one"),
    ("ask q -s a.txt", "a.txt: holds no store; make one"),
    ("index nope -s kb", "nope: no such file or folder"),
    ("index folder -s kb", "folder: nothing to index there; finerank reads .txt"),
    ("index a.txt -s b.md", "--store b.md: b.md is a file; name a folder"),
    ("serve --model nope", "model 'nope'"),
    ("serve --more-models nope", "model 'nope'"),
    ("serve --store nope --port 0", "nope: holds no store; make one"),
    ("mcp --store nope", "nope: holds no store; make one"),
    ("evaluate nope", "nope: is not a judged set"),
    ("evaluate folder --against nope", "nope: No such file"),
    ("evaluate folder --out a.txt", "--out a.txt: a.txt is a file; name a folder"),
    ("evaluate --store nope --queries a.txt --qrels a.txt", "--store nope: no such file or folder"),
    ("evaluate --store folder --queries nope --qrels a.txt", "--queries nope: no such file or folder"),
    ("calibrate nope", "nope: is not a judged set"),
    ("calibrate pairs.jsonl --out a.txt", "--out a.txt: a.txt is a file; name a folder"),
    ("calibrate pairs.jsonl --report folder", "--report folder: is a folder; name a file"),
    ("calibrate pairs.jsonl --report nope/r.html", "--report nope/r.html: there is no folder nope"),
    ("mine nope --out x", "nope: no such file"),
    ("mine pairs.jsonl --out folder", "--out folder"),
    ("mine pairs.jsonl --out x --corpus nope", "--corpus nope: no such file or folder"),
    ("train nope nope --out x", "nope: no such file or folder"),
    ("train nope pairs.jsonl --out a.txt", "a.txt: exists and is not a run of ours"),
    ("train nope pairs.jsonl --out x --dev nada", "--dev nada: no such file or folder"),
    ("train nope pairs.jsonl --out x --scores nada", "--scores nada: no such file or folder"),
    ("train nope pairs.jsonl --out x --refresh nada", "--refresh nada: no such file or folder"),
    ("train nope pairs.jsonl --out x --config folder", "folder: Is a directory"),
    ("pretrain nope a.txt --out b.md", "b.md: exists and is not a run of ours"),
    ("export finerank-mini a.txt", "a.txt: exists and is not an empty folder"),
]


@pytest.mark.parametrize(("command", "complaint"), FAILURES, ids=[command for command, _ in FAILURES])
def test_what_cannot_be_used_is_told_in_a_line_with_exit_code_1(
    command: str, complaint: str, finerank: Finerank, place: Path
) -> None:
    before = sorted(place.iterdir())
    code, out, err = finerank(*command.split())
    assert (code, out, err.count("\n")) == (1, "", 1), err
    assert complaint in err
    assert sorted(place.iterdir()) == before, "nothing is left behind"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_short_flag_for_help(command: str, finerank: Finerank) -> None:
    code, out, _ = finerank(command, "-h")
    assert (code, f"finerank {command}" in out) == (0, True)


def test_the_command_alone_shows_its_help(finerank: Finerank) -> None:
    assert finerank("-h")[0] == 0
    code, out, err = finerank()
    assert (code, "calibrate" in out + err) == (2, True)


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("command", ["rank a.txt b.md", "rank ./a.txt", "search a.txt -s kb", "ask b.md -s kb"])
def test_a_file_in_the_place_of_the_question_is_pointed_out(command: str, finerank: Finerank) -> None:
    code, _, err = finerank(*command.split())
    assert code == 2
    assert f"{command.split()[1]}': is a file here, not a question; put the question first" in err


def test_a_question_that_no_file_can_be_named_is_a_question(finerank: Finerank) -> None:
    for question in ("folder", "a.txt?", "x" * 5000, "what is a.txt"):
        assert finerank("rank", question, "a.txt", "--jsonl")[0] == 0


def test_the_records_that_index_reads_can_be_ranked(finerank: Finerank, place: Path) -> None:
    records = [
        {"content": "one", "title": "T", "_id": 3, "lang": "en"},
        {"contents": "two", "id": "b", "metadata": {"lang": "de"}},
        {"body": "three", "metadata": None},
        {"passage": "four", "text": None},
    ]
    (place / "docs.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    code, out, err = finerank("rank", "which number?", "--docs", "docs.jsonl", "--jsonl")
    assert code == 0, err
    found = sorted((json.loads(line) for line in out.splitlines()), key=lambda each: each["index"])
    assert [each["text"] for each in found] == ["one", "two", "three", "four"]
    assert [each.get("id") for each in found] == [3, "b", None, None]
    assert [found[0]["metadata"], found[1]["metadata"]] == [{"title": "T", "lang": "en"}, {"lang": "de"}]
    (place / "docs.jsonl").write_text('{"title": "no text"}', encoding="utf-8")
    code, _, err = finerank("rank", "q", "--docs", "docs.jsonl")
    assert (code, "under any of text, content" in err) == (1, True)


def test_a_tilde_is_expanded_where_the_shell_does_not(
    finerank: Finerank, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(place))
    (place / "~$a.txt").write_text("Left by an office program.", encoding="utf-8")
    code, out, err = finerank("rank", "q", "~/a.txt", "~$a.txt", "--docs=~/pairs.jsonl", "--jsonl")
    assert code == 0, err
    assert {json.loads(line).get("id") for line in out.splitlines()} == {str(place / "a.txt"), "~$a.txt", None}
    assert finerank("index", "a.txt", "--store=~/kb")[0] == 0
    assert (place / "kb").is_dir()


def test_what_cannot_be_followed_in_a_folder_is_counted_and_the_rest_indexed(finerank: Finerank, place: Path) -> None:
    (place / "folder/good.txt").write_text("Hold the button.", encoding="utf-8")
    (place / "folder/loop.txt").symlink_to("loop.txt")
    (place / "folder/ring").symlink_to("ring")
    (place / "folder/gone.md").symlink_to("nowhere.md")
    code, out, err = finerank("index", "folder", "-s", "kb")
    assert (code, "1 new" in out, "3 skipped" in out) == (3, True, True)
    assert all(f"folder/{name}: " in err for name in ("loop.txt", "ring", "gone.md"))


def test_a_folder_that_cannot_be_entered_is_counted_and_the_rest_indexed(
    finerank: Finerank, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "folder/good.txt").write_text("Hold the button.", encoding="utf-8")
    (place / "folder/locked").mkdir()
    listed, known = Path.iterdir, Path.stat

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", lambda path: refuse(path) if path.name == "locked" else listed(path))
    code, out, err = finerank("index", "folder", "-s", "kb")
    assert (code, "1 new" in out, "1 skipped" in out) == (3, True, True)
    assert "folder/locked: Permission denied" in err
    monkeypatch.setattr(Path, "stat", lambda path, **how: refuse(path) if path.name == "locked" else known(path, **how))
    code, out, err = finerank("index", "folder", "-s", "kb")
    assert (code, "1 unchanged" in out, "1 skipped" in out) == (3, True, True)


def test_what_was_not_read_gives_exit_code_3(finerank: Finerank, place: Path) -> None:
    (place / "p.png").touch()
    assert finerank("index", "a.txt", "nope", "-s", "kb")[0] == 3
    assert finerank("index", "a.txt", "p.png", "-s", "kb")[0] == 3
    code, _, err = finerank("index", "folder", "-s", "kb")
    assert (code, "folder: nothing to index there" in err) == (1, True)


def test_a_store_can_be_searched_from_another_working_directory_than_its_embedder_was_named_in(
    finerank: Finerank, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finerank.scoring.model_files import EMBEDDED_DIR

    (place / "mine").symlink_to(EMBEDDED_DIR / "finerank-embed")
    assert finerank("index", "a.txt", "-s", "kb", "--embedder", "mine")[0] == 0
    assert Store.open(place / "kb").made.embedder == str(place / "mine")
    monkeypatch.chdir(place / "folder")
    code, out, err = finerank("search", "which button?", "-s", "../kb", "--json")
    assert (code, len(json.loads(out)["reranked"])) == (0, 1), err
    assert finerank("index", "../b.md", "-s", "../kb", "--embedder", "../mine")[0] == 0


def test_evidence_about_a_model_is_found_by_every_path_to_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_evidence(place, Evidence("folder", "nDCG@10", Effect(0.1, 0.05, 0.2, 30)))
    monkeypatch.chdir(place / "folder")
    assert read_evidence(place, str(place / "folder")) == read_evidence(place, "../folder")
    assert read_evidence(place, "../folder") is not None
    assert read_evidence(place, "folder") is None


def test_a_failure_that_is_ours_never_shows_a_traceback(finerank: Finerank, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise FinerankError("it broke; mend it")

    monkeypatch.setattr("finerank.cli.options.load_reranker", fail)
    assert finerank("rank", "q", "a.txt") == (1, "", "finerank: it broke; mend it\n")
