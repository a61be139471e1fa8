"""`finerank calibrate` on the default model and small data, and what `finerank rank` makes of the result."""

import json
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from finerank import Reranker
from finerank.cli import build_app
from finerank.cli.calibrate import _own_folder
from finerank.errors import FinerankError, InvalidInput, InvalidSetting
from finerank.scoring.calibration import Platt, read_calibration
from finerank.scoring.model_files import find_model

ROWS = [
    ("how do I reset the router?", "Hold the reset button of the router for ten seconds.", 1),
    ("how do I reset the router?", "Bananas are yellow.", 0),
    ("what is the capital of France?", "Paris is the capital of France.", 1),
    ("what is the capital of France?", "The router has a button.", 0),
    ("what colour are bananas?", "Bananas are yellow.", 1),
    ("what colour are bananas?", "Paris is a city.", 0),
]


def run(*arguments: object, stdin: str | None = None) -> Result:
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(build_app(("calibrate", "rank")), words, input=stdin)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    rows = (dict(zip(("query", "passage", "label"), row, strict=True)) for row in ROWS)
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


@pytest.fixture
def calibrated(data: Path, tmp_path: Path) -> Path:
    result = run("calibrate", data, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    return tmp_path / "out/calibration.json"


def test_a_fit_is_written_with_what_it_holds_for(calibrated: Path) -> None:
    assert isinstance(read_calibration(calibrated), Platt)
    fitted_on = json.loads(calibrated.read_text(encoding="utf-8"))["fitted_on"]
    assert fitted_on["model"] == "finerank-mini"
    assert (fitted_on["pairs"], fitted_on["relevant"], fitted_on["queries"]) == (6, 3, 3)
    assert [path.name for path in calibrated.parent.iterdir()] == ["calibration.json"]


def test_the_fit_as_json_with_a_threshold_and_a_report(data: Path, tmp_path: Path) -> None:
    arguments = ("--out", tmp_path / "out", "--report", tmp_path / "report.html", "--precision", 1)
    fit = json.loads(run("calibrate", data, *arguments, "--json", "--method", "isotonic").stdout)
    assert fit["method"] == "isotonic"
    assert fit["threshold"]["precision"] == fit["threshold"]["recall"] == 1.0
    assert fit["after"]["calibration_error"] >= 0
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<svg" in html
    assert "Bananas" not in html
    shown = run("calibrate", data, *arguments).stdout
    assert "precision 1.0: keep score >= 0." in shown
    assert "on queries it was not chosen on: precision" in shown


def test_a_beir_folder_will_do(write_set, tmp_path: Path) -> None:
    result = run("calibrate", write_set(), "--out", tmp_path / "out", "--json")
    assert json.loads(result.stdout)["pairs"] == 5, result.output


def test_ranking_with_a_calibration_adds_the_probability_and_changes_nothing_else(calibrated: Path) -> None:
    query, passages = ROWS[0][0], "\n".join(row[1] for row in ROWS[:4])
    plain = json.loads(run("rank", query, "--json", stdin=passages).stdout)["results"]
    results = json.loads(run("rank", query, "--json", "--calibration", calibrated, stdin=passages).stdout)["results"]
    curve = read_calibration(calibrated)
    assert [result.pop("probability") for result in results] == [curve.probability(row["logit"]) for row in plain]
    assert results == plain
    assert "prob." in run("rank", query, "--calibration", calibrated, stdin=passages).stdout
    assert "prob." not in run("rank", query, stdin=passages).stdout


def test_batches_have_the_probability_too(calibrated: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "rankings"
    source.write_text(json.dumps({"query": "a", "documents": ["b"]}) + "\n", encoding="utf-8")
    run("rank", "--batch", source, "--out", out, "--calibration", calibrated)
    (result,) = json.loads(out.read_text(encoding="utf-8"))["results"]
    assert result["probability"] == read_calibration(calibrated).probability(result["logit"])


def test_a_model_of_ones_own_gets_it_in_its_folder_and_uses_it(data: Path, minilm: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(minilm, tmp_path / "model")
    assert run("calibrate", data, "--model", folder).exit_code == 0
    curve = read_calibration(folder / "calibration.json")
    with Reranker.from_pretrained(folder) as reranker:
        (result,) = reranker.rank("a", ["b"])
        assert result.probability == curve.probability(result.logit)
        (pair,) = reranker.score_pairs([("a", "b")])
        assert pair.probability == result.probability
    with Reranker.from_pretrained(folder, calibration="off") as reranker:
        assert reranker.rank("a", ["b"])[0].probability is None
        assert reranker.score_pairs([("a", "b")])[0].probability is None


def test_an_old_calibration_is_not_read_for_a_new_fit(
    data: Path, minilm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(minilm, tmp_path / "model")
    (folder / "calibration.json").write_text("{", encoding="utf-8")
    monkeypatch.setenv("FINERANK_CALIBRATION", str(tmp_path / "nowhere.json"))
    assert run("calibrate", data, "--model", folder).exit_code == 0
    assert isinstance(read_calibration(folder / "calibration.json"), Platt)


def test_shared_folders_are_not_written_to(data: Path, minilm: Path, tmp_path: Path) -> None:
    result = run("calibrate", data)
    assert isinstance(result.exception, InvalidSetting)
    assert "inside the installed package" in str(result.exception)
    assert "--out FOLDER" in str(result.exception)
    assert not (find_model().folder / "calibration.json").exists()
    snapshot = tmp_path / "models--a--b/snapshots/0123"
    snapshot.parent.mkdir(parents=True)
    (tmp_path / "models--a--b/blobs").mkdir()
    shutil.copytree(minilm, snapshot)
    with pytest.raises(InvalidSetting, match="in the cache of downloaded models"):
        _own_folder(find_model(snapshot))
    with pytest.raises(InvalidSetting, match="has no folder"):
        _own_folder(None)


def test_what_goes_wrong_leaves_no_file(data: Path, tmp_path: Path) -> None:
    data.write_text('{"query": "q", "passage": "p", "label": 1}\n', encoding="utf-8")
    for arguments, error in (
        ((data, "--out", tmp_path / "out"), InvalidInput),
        ((data, "--out", data), InvalidSetting),
        ((tmp_path / "nowhere", "--out", tmp_path / "out"), FinerankError),
    ):
        assert isinstance(run("calibrate", *arguments).exception, error)
    assert not (tmp_path / "out/calibration.json").exists()


@pytest.mark.parametrize(
    ("report", "message"), [(".", r"--report \.: is a folder"), ("no/report.html", "there is no folder no; make it")]
)
def test_a_report_that_cannot_be_written_is_told_before_scoring(data: Path, report: str, message: str) -> None:
    result = run("calibrate", data, "--model", "./nowhere", "--report", report)
    assert isinstance(result.exception, InvalidSetting)
    assert re.search(message, str(result.exception))
