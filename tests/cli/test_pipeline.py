"""`finerank index`, `search`, `ask` and `evaluate --store` as a user meets them, on the default model."""

import json
import sys
from pathlib import Path

import pytest
from tests.text.pdfs import write_pdf
from typer.testing import CliRunner, Result

from finerank.cli import build_app
from finerank.errors import FinerankError, InvalidSetting, StoreNotFound

DOCS = {
    "router.md": "# Router\n\nHold the reset button for ten seconds to reset the router's password.\n",
    "care.txt": "Keep the router dry, and dust it now and then. Do not open its case.",
    "zh.txt": "要重置路由器的管理员密码，请按住机身背面的重置按钮十秒钟。",
    "faq.jsonl": '{"id": "w1", "text": "The warranty covers two years.", "lang": "en"}\n',
}
QUESTION = "how do I reset the router password?"


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(build_app(), [str(argument) for argument in arguments])
    if isinstance(result.exception, FinerankError):
        raise result.exception
    return result


def write_docs(folder: Path) -> Path:
    folder.mkdir()
    for name, text in DOCS.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipeline")
    result = run("index", write_docs(folder / "docs"), "--store", folder / "store", "--metadata", "team=blue")
    assert result.exit_code == 0, result.output
    assert "4 new" in result.output
    return folder / "store"


def test_index_says_what_became_of_the_files(tmp_path: Path):
    docs = write_docs(tmp_path / "docs")
    (docs / "bad.pdf").write_bytes(b"%PDF-")
    result = run("index", docs, "-s", tmp_path / "store")
    assert result.exit_code == 3
    assert "bad.pdf: not readable as PDF" in result.stderr
    assert "4 new, 0 changed, 0 unchanged, 0 removed, 1 skipped; 4 passages written" in result.stdout
    again = json.loads(run("index", docs, "-s", tmp_path / "store", "--json").stdout)
    assert (again["unchanged"], again["skipped"], again["total_passages"]) == (4, 1, 4)


def test_a_folder_that_was_moved_away_stays_in_the_store_until_it_is_pruned(tmp_path: Path):
    docs, store = write_docs(tmp_path / "docs"), tmp_path / "store"
    run("index", docs, "-s", store)
    docs.rename(tmp_path / "elsewhere")
    result = run("index", docs, "-s", store)
    assert result.exit_code == 3
    assert "0 removed" in result.stdout
    assert "4 passages of 4 files" in result.stdout
    assert "the 4 files indexed from it stay" in result.stderr
    result = run("index", docs, "-s", store, "--prune")
    assert result.exit_code == 0
    assert "4 removed" in result.stdout
    assert "0 passages of 0 files" in result.stdout


def test_metadata_in_any_script_is_found_again(tmp_path: Path):
    run("index", write_docs(tmp_path / "docs"), "-s", tmp_path / "store", "--metadata", "部门=法务")
    for condition, count in {"部门=法务": 4, "部门!=法务": 0, "部门=财务": 0}.items():
        found = run("search", QUESTION, "-s", tmp_path / "store", "--where", condition, "--json", "--gate", "keep")
        assert len(json.loads(found.stdout)["reranked"]) == count


def test_index_names_pages_without_text_and_reads_them_by_ocr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    docs = write_docs(tmp_path / "docs")
    write_pdf(docs / "scan.pdf", ["Some text of the first page.", *[""] * 8], scans=range(1, 9))
    result = run("index", docs, "-s", tmp_path / "store")
    assert result.exit_code == 3
    assert "scan.pdf: pages 2-9 of 9 without text; to read scans, set ocr" in " ".join(result.stderr.split())
    assert "5 new, 0 changed, 0 unchanged, 0 removed, 8 pages without text; 5 passages written" in result.stdout
    monkeypatch.setenv("FINERANK_RAG_OCR", f"{sys.executable} -c \"print('Read by OCR.')\" {{image}}")
    result = run("index", docs, "-s", tmp_path / "store", "--json")
    assert result.exit_code == 0
    assert (json.loads(result.stdout)["changed"], json.loads(result.stdout)["unread_pages"]) == (1, 0)


@pytest.mark.parametrize(
    ("name", "value"), [("OCR", "no-such-program {image}"), ("READ_TIMEOUT_S", "0"), ("READ_MEMORY_MB", "1")]
)
def test_wrong_settings_of_reading_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str):
    monkeypatch.setenv(f"FINERANK_RAG_{name}", value)
    with pytest.raises(InvalidSetting, match=f"{name.lower()}=.?{value.split()[0]}"):
        run("index", write_docs(tmp_path / "docs"), "-s", tmp_path / "store")


def test_search_shows_both_orders(store: Path):
    found = json.loads(run("search", QUESTION, "-s", store, "--json").stdout)
    assert found["passages"][0]["text"].startswith("# Router")
    assert found["passages"][0]["metadata"]["team"] == "blue"
    assert found["passages"][0]["score"] > 0.5
    assert {stage["name"] for stage in found["stages"]} == {"recall", "rerank", "merge", "rules"}
    assert len(found["recalled"]) == 4
    lines = run("search", QUESTION, "-s", store, "--jsonl").stdout.splitlines()
    assert [json.loads(line)["rank"] for line in lines] == [1, 2, 3, 4]
    table = run("search", QUESTION, "-s", store).stdout
    assert "order: rerank" in table
    assert "router.md:0-" in table.replace("\n", "").replace(" ", "")


def test_search_takes_conditions(store: Path):
    found = json.loads(run("search", "warranty", "-s", store, "--where", "lang=en", "--json").stdout)
    assert [each["metadata"]["key"] for each in found["reranked"]] == ["w1"]
    assert "nothing found" in run("search", "warranty", "-s", store, "--where", "lang=xx").stdout


def test_a_chinese_question_is_reranked_and_one_in_an_unknown_script_is_not(store: Path):
    unknown = json.loads(run("search", "πώς επαναφέρω τον κωδικό;", "-s", store, "--json").stdout)
    assert unknown["decision"]["order"] == "keep"
    found = json.loads(run("search", "怎么重置管理员密码", "-s", store, "--json").stdout)
    assert found["decision"]["order"] == "rerank"
    assert found["passages"][0]["metadata"]["source"].endswith("zh.txt")


def test_ask_cites_and_remembers(store: Path):
    answer = json.loads(run("ask", QUESTION, "-s", store, "--json").stdout)
    assert answer["kind"] == "extractive"
    assert answer["answer"].splitlines()[0].endswith("password. [1]")
    assert answer["citations"][0]["source"].endswith("router.md")
    assert not answer["cached"]
    shown = run("ask", QUESTION.upper(), "-s", store).stdout
    assert "[1]" in shown
    assert "no generator" in shown
    assert "from the answer cache" in shown
    assert "from the answer cache" not in run("ask", QUESTION, "-s", store, "--fresh").stdout


def test_ask_does_not_know_everything(store: Path):
    shown = run("ask", "who won the cup?", "-s", store).stdout
    assert "I do not know" in shown


def test_a_generator_that_is_down_is_told(store: Path):
    shown = run("ask", QUESTION, "-s", store, "--generator-url", "http://127.0.0.1:9/v1", "--generator-model", "m")
    assert "Is the server running" in shown.stdout
    assert "[1]" in shown.stdout
    assert shown.exit_code == 0


def test_evaluate_leaves_evidence_that_the_gate_goes_by(tmp_path: Path):
    docs, store = write_docs(tmp_path / "docs"), tmp_path / "store"
    run("index", docs, "-s", store)
    # Judged to the contrary of what the model says: reranking must hurt.
    questions = [{"_id": f"q{n}", "text": f"{QUESTION} ({n})", "lang": "en"} for n in range(6)]
    (tmp_path / "queries.jsonl").write_text("\n".join(map(json.dumps, questions)), encoding="utf-8")
    first = json.loads(run("search", QUESTION, "-s", store, "--json", "--gate", "keep").stdout)["passages"]
    worst = json.loads(run("search", QUESTION, "-s", store, "--json").stdout)["reranked"][-1]["id"]
    before = [each["id"] for each in first]
    assert before.index(worst) < 4
    name = Path(worst.rpartition("#")[0]).name
    id_ = "w1" if name == "faq.jsonl" else name
    (tmp_path / "qrels.tsv").write_text("".join(f"q{n} 0 {id_} 1\n" for n in range(6)), encoding="utf-8")
    arguments = [
        "evaluate",
        "--store",
        store,
        "--queries",
        tmp_path / "queries.jsonl",
        "--qrels",
        tmp_path / "qrels.tsv",
    ]
    found = json.loads(run(*arguments, "--json").stdout)
    assert found["measures"] == ["nDCG@10", "RR@10", "R@5"]
    assert [row["name"] for row in found["languages"]] == ["en"]
    comparison = found["comparisons"][0]["overall"]
    decision = json.loads(run("search", QUESTION, "-s", store, "--json").stdout)["decision"]
    expected = "keep" if comparison["high"] < 0 else "blend" if comparison["mean"] < 0 else "rerank"
    assert decision["order"] == expected
    assert "on 6 judged questions" in decision["why"]
    (tmp_path / "qrels.tsv").write_text("x 0 a 1\n", encoding="utf-8")
    with pytest.raises(FinerankError, match="other queries"):
        run(*arguments)


def test_wrong_usage_is_refused(store: Path, tmp_path: Path):
    with pytest.raises(StoreNotFound, match="finerank index"):
        run("ask", QUESTION, "-s", tmp_path / "none")
    with pytest.raises(FinerankError, match="where 'lang'"):
        run("search", QUESTION, "-s", store, "--where", "lang")
    with pytest.raises(FinerankError, match="metadata"):
        run("index", tmp_path, "-s", tmp_path / "s", "--metadata", "blue")
    with pytest.raises(FinerankError, match="generator_model"):
        run("ask", QUESTION, "-s", store, "--generator-url", "http://localhost:1/v1")
    assert run("evaluate", "--store", store).exit_code == 2
