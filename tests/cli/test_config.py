import json
import os
import subprocess
import sys
from pathlib import Path


def run(folder: Path, *arguments: str, **environment: str) -> str:
    command = [sys.executable, "-m", "finerank", "config", *arguments]
    result = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_every_value_is_told_with_its_origin(tmp_path: Path) -> None:
    (tmp_path / "finerank.toml").write_text(
        'max_length = 256\n[serve]\nport = 9000\napi_keys = ["secret"]\ncors_origins = ["https://a.example"]\n',
        encoding="utf-8",
    )
    told = json.loads(run(tmp_path, "--json", FINERANK_SERVE_PORT="9001", FINERANK_THRESHOLD="0.5"))
    assert told["max_length"] == {"value": 256, "origin": "finerank.toml"}
    assert told["threshold"] == {"value": 0.5, "origin": "FINERANK_THRESHOLD"}
    assert told["serve.port"] == {"value": 9001, "origin": "FINERANK_SERVE_PORT"}
    assert told["serve.cors_origins"]["value"] == ["https://a.example"]
    assert told["serve.host"] == {"value": "127.0.0.1", "origin": "default"}
    assert "secret" not in json.dumps(told)


def test_the_table_shows_the_same_and_no_secret(tmp_path: Path) -> None:
    shown = run(tmp_path, FINERANK_SERVE_API_KEYS="secret,other", COLUMNS="120")
    assert "FINERANK_SERVE_API_KEYS" in shown
    assert "secret" not in shown
    assert "batch_tokens" in shown


def test_a_variable_that_nothing_reads_is_told_on_standard_error(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "finerank", "config", "--json"]
    environment = {**os.environ, "FINERANK_TRESHOLD": "0.5"}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0
    assert json.loads(result.stdout)["threshold"] == {"value": None, "origin": "default"}
    told = "finerank: FINERANK_TRESHOLD: nothing reads this variable; did you mean FINERANK_THRESHOLD?\n"
    assert result.stderr == told
