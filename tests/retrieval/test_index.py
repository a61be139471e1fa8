"""Indexing only what changed; kills, locks, bad files, full disks."""

import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from tests.text.pdfs import crafted_pdf, write_pdf

from finerank.errors import InvalidSetting, StoreError, StoreLocked
from finerank.retrieval import index as index_module
from finerank.retrieval.embed import StaticEmbedder
from finerank.retrieval.index import Cutting
from finerank.retrieval.ledger import open_ledger
from finerank.retrieval.store import Made, Store
from finerank.scoring.model_files import EMBEDDED_DIR
from finerank.system.sandbox import Limits
from finerank.testing import TermsEmbedder
from finerank.text.load import ReadOptions

FILES = 6

CHILD = """
import sys
from pathlib import Path
from finerank.retrieval import index as index_module
from finerank.retrieval.store import Made
from finerank.testing import TermsEmbedder

class Slow(TermsEmbedder):
    def embed_passages(self, texts):
        print("batch", flush=True)
        {embed}
        return super().embed_queries(texts)

index_module.BATCH_PASSAGES = 8
index_module.index([Path(sys.argv[1])], Path(sys.argv[2]), Slow(), Made("terms", "", 64))
"""


def sources(folder: Path) -> dict[str, int]:
    return {Path(name).name: count for name, count in Store.open(folder).sources().items()}


def test_only_what_changed_is_embedded_again(index_docs, docs: Path, tmp_path: Path):
    first = index_docs()
    assert (first.added, first.changed, first.unchanged, first.removed) == (FILES, 0, 0, 0)
    assert first.total_passages == first.passages == len(Store.open(tmp_path / "store"))

    embedder = TermsEmbedder()
    version = Store.open(tmp_path / "store").version
    again = index_docs(embedder=embedder)
    assert (again.unchanged, again.passages, embedder.embedded) == (FILES, 0, [])
    assert Store.open(tmp_path / "store").version == version

    (docs / "ja.txt").write_text("保証は二年間です。", encoding="utf-8")
    (docs / "ko.txt").unlink()
    (docs / "new.txt").write_text("A new file.", encoding="utf-8")
    os.utime(docs / "zh.txt", (1, 1))
    last = index_docs(embedder=embedder)
    assert (last.added, last.changed, last.unchanged, last.removed) == (1, 1, FILES - 2, 1)
    assert sorted(embedder.embedded) == ["A new file.", "保証は二年間です。"]
    found = sources(tmp_path / "store")
    assert found.keys() == {"router.md", "zh.txt", "ja.txt", "th.txt", "en.txt", "new.txt"}
    assert found["ja.txt"] == 1
    assert Store.open(tmp_path / "store").matching("パスワード", 5) == []


def test_other_metadata_or_cutting_is_a_change(index_docs, tmp_path: Path):
    index_docs()
    assert index_docs(metadata={"team": "blue"}).changed == FILES
    assert Store.open(tmp_path / "store").matching("warranty", 1)[0].document.metadata["team"] == "blue"
    assert index_docs(metadata={"team": "blue"}, cutting=Cutting(8, 2)).changed == FILES
    assert len(Store.open(tmp_path / "store")) > FILES


def test_files_of_other_folders_stay(index_docs, docs: Path, tmp_path: Path):
    index_docs()
    assert index_docs([docs / "warranty"]).removed == 0
    (docs / "warranty/en.txt").unlink()
    assert index_docs([docs / "zh.txt"]).removed == 0
    assert index_docs([docs]).removed == 1


def test_a_bad_file_is_reported_and_skipped_and_its_former_passages_stay(index_docs, docs: Path, tmp_path: Path):
    index_docs()
    (docs / "zh.txt").write_bytes(b"\0\1\2")
    (docs / "bad.pdf").write_bytes(b"%PDF-")
    (docs / "empty.md").write_text(" \n", encoding="utf-8")
    (docs / "half.jsonl").write_text('{"text": "good line"}\n{bad\n', encoding="utf-8")
    reported: list[str] = []
    done = index_docs(report=reported.append)
    assert (done.skipped, done.added) == (3, 1)
    assert sorted(problem.split(":")[0].split("/")[-1].split(",")[0] for problem in reported) == [
        "bad.pdf", "empty.md", "half.jsonl", "zh.txt",
    ]  # fmt: skip
    assert tuple(reported) == done.problems
    assert sources(tmp_path / "store")["zh.txt"] == 1
    assert Store.open(tmp_path / "store").matching("good line", 1)


def test_pages_without_text_are_counted_and_ocr_reads_the_file_again(index_docs, docs: Path, tmp_path: Path):
    write_pdf(docs / "scan.pdf", ["The warranty lasts two years.", *[""] * 3], scans=[1, 2, 3])
    done = index_docs()
    assert (done.unread_pages, done.skipped) == (3, 0)
    assert "scan.pdf: pages 2-4 of 4 without text" in done.problems[0]
    assert index_docs().unchanged == FILES + 1
    reading = ReadOptions(ocr=lambda image: f"The lamp of {image.stem} blinks.")
    done = index_docs(cutting=Cutting(reading=reading))
    assert (done.changed, done.unchanged, done.unread_pages, done.problems) == (1, FILES, 0, ())
    (found, *_) = Store.open(tmp_path / "store").matching("lamp page-3 blinks", 1)
    assert "The lamp of page-3 blinks." in found.document.text


def test_a_pdf_read_by_an_older_version_is_read_again(index_docs, docs: Path, monkeypatch: pytest.MonkeyPatch):
    write_pdf(docs / "a.pdf", ["The warranty lasts two years."])
    monkeypatch.setattr("finerank.text.load.PDF_VERSION", 1)
    index_docs()
    monkeypatch.undo()
    assert (index_docs().changed, index_docs().unchanged) == (1, FILES + 1)


def test_a_crafted_file_is_skipped_and_the_others_are_indexed(index_docs, docs: Path):
    crafted_pdf(docs / "a.pdf")
    (docs / "b.docx").write_bytes(b"PK\3\4 nothing")
    write_pdf(docs / "c.pdf", ["The warranty lasts two years."])
    done = index_docs(cutting=Cutting(reading=ReadOptions(Limits(timeout_s=1.0, memory_mb=256))))
    assert (done.skipped, done.added) == (2, FILES + 1)
    assert [problem.rpartition("/")[2][:6] for problem in done.problems] == ["a.pdf:", "b.docx"]


def test_every_file_of_a_kind_that_is_not_read_is_named_and_counted(index_docs, tmp_path: Path):
    folder = tmp_path / "mixed"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.md").write_text("Hold the reset button.")
    for name in ("photo.png", "sub/old.doc", "sub/x.zip", ".hidden.png"):
        (folder / name).write_bytes(b"x")
    done = index_docs([folder])
    assert (done.added, done.skipped) == (1, 3)
    named = " ".join(done.problems)
    assert all(name in named for name in ("photo.png", "old.doc", "x.zip"))
    assert "save it as .docx" in named
    assert ".hidden" not in named


def test_boilerplate_of_pages_is_kept_if_asked_for_and_that_is_a_change(index_docs, tmp_path: Path):
    page = tmp_path / "pages" / "a.html"
    page.parent.mkdir()
    page.write_text("<nav><a href=/>Home</a></nav><main><p>Hold the reset button for ten seconds.</p></main>")
    assert index_docs([page.parent]).added == 1
    assert index_docs([page.parent], cutting=Cutting(reading=ReadOptions(boilerplate=True))).changed == 1
    assert index_docs([page.parent], cutting=Cutting(reading=ReadOptions(boilerplate=True))).unchanged == 1


def test_a_file_unreadable_in_its_middle_leaves_nothing_behind(
    index_docs, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(index_module, "BATCH_PASSAGES", 4)
    (docs / "broken.csv").write_text("text\n" + "a line of text\n" * 20 + '"' + "x" * (1 << 25), encoding="utf-8")
    assert index_docs().skipped == 1
    assert "broken.csv" not in sources(tmp_path / "store")


def test_a_file_is_indexed_once_by_however_many_paths(index_docs, docs: Path, tmp_path: Path):
    (docs / "again.md").symlink_to(docs / "router.md")
    done = index_docs([docs, docs / "router.md"])
    assert (done.added, done.passages) == (FILES, FILES)
    assert len(Store.open(tmp_path / "store")) == FILES


@pytest.mark.parametrize("row", ['"date": "9999-12-31T23:59:59-01:00"', '"title": "\\ud800"'])
def test_a_record_that_is_odd_stops_nothing(index_docs, docs: Path, tmp_path: Path, row: str):
    (docs / "odd.jsonl").write_text(f'{{"text": "the odd lamp", {row}}}\n', encoding="utf-8")
    embedder = StaticEmbedder(EMBEDDED_DIR / "finerank-embed")
    made = Made("static", "", embedder.embed_queries(["x"]).shape[1])
    done = index_module.index([docs], tmp_path / "store", embedder, made)
    assert (done.total_files, done.problems) == (FILES + 1, ())
    assert Store.open(tmp_path / "store").matching("odd lamp", 1)


def test_a_name_that_is_no_text_is_reported(index_docs, docs: Path):
    name = os.fsencode(docs / "caf") + b"\xe9.txt"
    with open(name, "wb") as file:
        file.write(b"a small dark coffee")
    done = index_docs()
    assert (done.added, done.skipped) == (FILES, 1)
    assert "rename the file" in done.problems[0]


def test_a_folder_that_may_not_be_entered_keeps_its_passages(
    index_docs, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    index_docs()
    real = Path.stat

    def stat(path: Path, **options: bool) -> os.stat_result:
        if path.name == "en.txt":
            raise PermissionError(13, "Permission denied")
        return real(path, **options)

    (docs / "warranty").rename(docs / ".warranty")
    monkeypatch.setattr(Path, "stat", stat)
    assert index_docs().removed == 0
    monkeypatch.undo()
    assert index_docs().removed == 1


def test_a_store_belongs_to_its_embedder(index_docs, docs: Path, tmp_path: Path):
    index_docs()
    with pytest.raises(InvalidSetting, match="another folder"):
        index_module.index([docs], tmp_path / "store", TermsEmbedder(), Made("other", "", 64))


def test_one_process_writes_at_a_time_and_others_read(index_docs, docs: Path, tmp_path: Path):
    index_docs()
    with open_ledger(tmp_path / "store"):
        with pytest.raises(StoreLocked, match="another process"):
            index_docs()
        assert Store.open(tmp_path / "store").matching("warranty", 1)
    assert index_docs().unchanged == FILES


def test_a_lost_table_is_made_anew(index_docs, tmp_path: Path):
    import shutil

    index_docs()
    shutil.rmtree(tmp_path / "store/passages.lance")
    assert index_docs().total_files == FILES
    assert len(Store.open(tmp_path / "store")) == FILES


def test_a_damaged_ledger_says_so(index_docs, tmp_path: Path):
    index_docs()
    (tmp_path / "store/ledger.sqlite").write_bytes(b"damaged" * 1000)
    with pytest.raises(StoreError, match="index again"):
        index_docs()


def test_what_the_indices_miss_is_indexed_though_nothing_changed(
    index_docs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as killed:
        killed.setattr(Store, "optimise", lambda _: None)
        index_docs()
    store = Store.open(tmp_path / "store")
    assert not store.optimised
    assert index_docs().passages == 0
    assert store.optimised
    version = store.version
    index_docs()
    assert store.version == version


def test_few_changes_are_found_and_leave_the_indices_until_they_are_many(index_docs, docs: Path, tmp_path: Path):
    def unknown() -> int:
        return int(store._table.index_stats("terms_idx").num_unindexed_rows)

    for number in range(20):
        lines = "\n".join(f'{{"text": "row {row} of file {number}"}}' for row in range(50))
        (docs / f"rows-{number}.jsonl").write_text(lines, encoding="utf-8")
    index_docs()
    store = Store.open(tmp_path / "store")
    assert unknown() == 0
    (docs / "lamp.txt").write_text("The green lamp blinks.", encoding="utf-8")
    index_docs()
    assert unknown() == 1
    assert [found.document.text for found in store.matching("lamp", 5)] == ["The green lamp blinks."]
    (docs / "rows-7.jsonl").unlink()
    index_docs()
    assert unknown() == 0
    assert store._table.stats()["fragment_stats"]["lengths"]["max"] == FILES + 1 + 19 * 50
    for number in range(33):
        (docs / "lamp.txt").write_text(f"The green lamp blinks {number} times.", encoding="utf-8")
        index_docs([docs / "lamp.txt"])
    assert unknown() < 10


@pytest.mark.parametrize("batches", [1, 2, 4])
def test_a_kill_leaves_a_store_that_works_and_the_next_run_goes_on(
    index_docs, docs: Path, tmp_path: Path, batches: int, monkeypatch: pytest.MonkeyPatch
):
    for number in range(4):
        lines = "\n".join(f'{{"text": "row {row} of file {number}"}}' for row in range(10))
        (docs / f"rows-{number}.jsonl").write_text(lines, encoding="utf-8")
    (docs / "ja.txt").write_text("former text", encoding="utf-8")
    index_docs([docs / "ja.txt", docs / "rows-1.jsonl"])
    (docs / "ja.txt").write_text("later text", encoding="utf-8")
    (docs / "rows-1.jsonl").write_text('{"text": "one row"}', encoding="utf-8")
    store = tmp_path / "store"
    stop = f"globals().update(n=globals().get('n', 0) + 1); __import__('time').sleep(60 * (n >= {batches}))"
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD.format(embed=stop)), str(docs), str(store)],
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    for _ in range(batches):
        assert child.stdout.readline() == b"batch\n"
    time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()

    opened = Store.open(store)
    assert opened.matching("text", 5), "the store can be searched"
    assert opened.nearest(TermsEmbedder().embed_queries(["text"])[0], 5)
    embedder = TermsEmbedder()
    done = index_docs(embedder=embedder)
    assert len(embedder.embedded) <= done.total_passages
    assert (done.total_files, done.total_passages) == (FILES + 4, FILES + 30 + 1)
    assert len(Store.open(store)) == done.total_passages
    assert [found.document.text for found in Store.open(store).matching("former later", 5)] == ["later text"]
    assert index_docs().unchanged == FILES + 4


def test_a_full_disk_keeps_what_was_indexed_before(index_docs, docs: Path, tmp_path: Path):
    index_docs()
    (docs / "big.jsonl").write_text("\n".join(f'{{"text": "row {row} {"x" * 500}"}}' for row in range(4000)), "utf-8")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    code = textwrap.dedent(CHILD.format(embed="pass")).replace("= 8", "= 4000")
    child = subprocess.run(
        [sys.executable, "-c", code, str(docs), str(tmp_path / "store")],
        capture_output=True, text=True, preexec_fn=limit, check=False,
    )  # fmt: skip
    assert "StoreError" in child.stderr
    assert "the disk is full" in child.stderr
    assert sources(tmp_path / "store").keys() == {"router.md", "zh.txt", "ja.txt", "th.txt", "ko.txt", "en.txt"}
    assert index_docs().total_files == FILES + 1


def texts(folder: Path) -> list[str]:
    return sorted(row["text"] for row in Store.open(folder)._table.search().select(["text"]).to_list())


def move_away(docs: Path) -> None:
    docs.rename(docs.with_name("elsewhere"))


def empty(docs: Path) -> None:
    move_away(docs)
    docs.mkdir()
    (docs / ".keep").touch()


def replace_by_a_file(docs: Path) -> None:
    move_away(docs)
    docs.write_text("no folder", encoding="utf-8")


def replace_by_a_dead_link(docs: Path) -> None:
    move_away(docs)
    docs.symlink_to(docs.with_name("nowhere"))


def replace_by_a_link_to_itself(docs: Path) -> None:
    move_away(docs)
    docs.symlink_to(docs)


@pytest.mark.parametrize("lose", [move_away, empty, replace_by_a_file, replace_by_a_dead_link])
def test_a_root_that_is_lost_keeps_its_passages_until_they_are_pruned(index_docs, docs: Path, tmp_path: Path, lose):
    index_docs()
    before = texts(tmp_path / "store")
    lose(docs)
    done = index_docs()
    assert (done.removed, done.skipped, done.total_files) == (0, 1, FILES)
    assert texts(tmp_path / "store") == before
    assert any(
        f"the {FILES} files indexed from it stay" in problem and "--prune" in problem for problem in done.problems
    )
    assert index_module.prune([docs], tmp_path / "store") == FILES
    assert texts(tmp_path / "store") == []
    assert index_docs().total_files == 0


def test_a_root_that_leads_to_itself_keeps_its_passages(index_docs, docs: Path, tmp_path: Path):
    index_docs()
    replace_by_a_link_to_itself(docs)
    done = index_docs()
    assert (done.removed, done.skipped, done.total_files) == (0, 1, FILES)
    assert index_module.prune([docs], tmp_path / "store") == 0, "what cannot be read is not lost"


def test_a_file_named_alone_that_is_missing_keeps_its_passages(index_docs, docs: Path, tmp_path: Path):
    index_docs()
    (docs / "zh.txt").unlink()
    assert index_docs([docs / "zh.txt"]).removed == 0
    assert index_module.prune([docs / "zh.txt"], tmp_path / "store") == 1
    assert "zh.txt" not in sources(tmp_path / "store")


def test_what_pruning_can_see_it_leaves(index_docs, docs: Path, tmp_path: Path):
    index_docs()
    (docs / "zh.txt").unlink()
    assert index_module.prune([docs, docs / "warranty", tmp_path / "other"], tmp_path / "store") == 0
    assert index_docs().removed == 1


def test_there_is_nothing_to_prune_in_a_store_that_is_not_there(docs: Path, tmp_path: Path):
    assert index_module.prune([docs], tmp_path / "store") == 0
    assert not (tmp_path / "store").exists()


def test_a_root_that_is_empty_from_the_start_is_no_fault(index_docs, tmp_path: Path):
    (tmp_path / "none").mkdir()
    done = index_docs([tmp_path / "none"])
    assert (done.skipped, done.problems) == (0, ())


def test_a_folder_replaced_by_a_file_within_a_root_is_gone(index_docs, docs: Path, tmp_path: Path):
    index_docs()
    (docs / "warranty/en.txt").unlink()
    (docs / "warranty").rmdir()
    (docs / "warranty").write_text("a file", encoding="utf-8")
    assert index_docs().removed == 1
    assert "en.txt" not in sources(tmp_path / "store")


def test_a_file_that_cannot_be_read_any_more_keeps_its_passages(
    index_docs, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    index_docs()
    before = texts(tmp_path / "store")
    real = Path.open

    def refused(path: Path, *arguments, **options):
        if path.name == "zh.txt":
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **options)

    (docs / "zh.txt").write_text("changed", encoding="utf-8")
    monkeypatch.setattr(Path, "open", refused)
    done = index_docs()
    assert (done.removed, done.skipped, done.changed) == (0, 1, 0)
    assert texts(tmp_path / "store") == before


def test_a_file_of_a_kind_that_is_not_read_any_more_keeps_its_passages(
    index_docs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    index_docs()
    before = texts(tmp_path / "store")
    from finerank.text import load

    monkeypatch.setattr(load, "READERS", {".txt": load.READERS[".txt"]})
    assert index_docs().removed == 0
    assert texts(tmp_path / "store") == before


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_a_folder_that_cannot_be_listed_keeps_its_passages(
    index_docs, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
):
    index_docs()
    before = texts(tmp_path / "store")
    (docs / "warranty/en.txt").rename(docs / "warranty/.en.txt")
    real = os.scandir
    walked = Path.iterdir

    def scandir(path=".", *arguments):
        if str(path).endswith("warranty"):
            raise error
        return real(path, *arguments)

    def iterdir(path: Path):
        if path.name == "warranty":
            raise error
        return walked(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", scandir)
        patched.setattr(Path, "iterdir", iterdir)
        assert index_docs().removed == 0
        done = index_docs([docs / "warranty"])
        assert (done.removed, done.skipped) == (0, 1)
        assert index_module.prune([docs / "warranty"], tmp_path / "store") == 0
    assert texts(tmp_path / "store") == before
    assert index_docs().removed == 1


def test_a_root_that_was_renamed_is_not_in_the_store_twice(index_docs, docs: Path, tmp_path: Path):
    index_docs()
    before = texts(tmp_path / "store")
    docs.rename(tmp_path / "handbook")
    done = index_docs([tmp_path / "handbook"])
    assert (done.added, done.removed, done.total_files) == (FILES, FILES, FILES)
    assert texts(tmp_path / "store") == before
    assert {Path(source).parts[len(tmp_path.parts)] for source in Store.open(tmp_path / "store").sources()} == {
        "handbook"
    }


def test_a_copy_takes_nothing_out(index_docs, docs: Path, tmp_path: Path):
    import shutil

    index_docs()
    shutil.copytree(docs, tmp_path / "copy")
    assert index_docs([tmp_path / "copy"]).total_files == 2 * FILES
    shutil.rmtree(docs)
    docs.mkdir()
    assert index_docs([tmp_path / "copy"]).removed == 0, "an empty folder may be a drive that is not mounted"


def test_roots_that_overlap_or_are_named_otherwise_are_one(
    index_docs, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    index_docs()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(docs)
    done = index_docs([Path("docs"), docs / "warranty", Path("link"), docs / ".." / "docs"])
    assert (done.unchanged, done.added, done.removed, done.total_files) == (FILES, 0, 0, FILES)
    (docs / "zh.txt").write_bytes(b"\0")
    assert index_docs([Path("docs"), docs, Path("link")]).skipped == 1
    (docs / "zh.txt").unlink()
    assert index_docs([Path("link")]).removed == 1
    (docs / "ja.txt").unlink()
    assert index_docs([Path("docs")]).removed == 1


def test_what_a_link_no_longer_leads_to_is_gone(index_docs, docs: Path, tmp_path: Path):
    for number in (1, 2):
        (tmp_path / f"release-{number}").mkdir()
        (tmp_path / f"release-{number}/a.txt").write_text(f"release {number}", encoding="utf-8")
    (tmp_path / "release-1/old.txt").write_text("old", encoding="utf-8")
    (docs / "current").symlink_to(tmp_path / "release-1")
    (docs / "one.txt").symlink_to(tmp_path / "release-1/old.txt")
    index_docs([docs / "current"])
    (docs / "current").unlink()
    (docs / "current").symlink_to(tmp_path / "release-2")
    assert index_docs([docs / "current"]).removed == 2
    assert texts(tmp_path / "store") == ["release 2"]
    assert index_docs([docs]).added == FILES + 1
    (docs / "one.txt").unlink()
    assert index_docs([docs]).removed == 1


@pytest.mark.parametrize("lost", ["deleted", "emptied", "older"])
def test_a_ledger_that_is_not_the_stores_is_rebuilt(index_docs, docs: Path, tmp_path: Path, lost: str):
    store, ledger = tmp_path / "store", tmp_path / "store/ledger.sqlite"
    index_docs([docs / "zh.txt", docs / "router.md"])
    older = ledger.read_bytes()
    (docs / "zh.txt").write_text("改后的文本。", encoding="utf-8")
    index_docs()
    before = texts(store)
    if lost == "deleted":
        ledger.unlink()
    else:
        ledger.write_bytes(older if lost == "older" else b"")
    (docs / "ja.txt").write_bytes(b"\0\1")
    (docs / "ko.txt").unlink()
    done = index_docs()
    assert (done.added, done.removed, done.skipped, done.total_files) == (0, 1, 1, FILES - 1)
    assert texts(store) == [text for text in before if "공유기" not in text]
    assert sum(Store.open(store).sources().values()) == done.total_passages
    again = index_docs()
    assert (again.passages, again.removed, again.unchanged) == (0, 0, FILES - 2)


def test_an_older_table_is_brought_up_to_date(index_docs, docs: Path, tmp_path: Path):
    import shutil

    index_docs()
    shutil.copytree(tmp_path / "store/passages.lance", tmp_path / "kept")
    (docs / "zh.txt").write_text("改后的文本。", encoding="utf-8")
    (docs / "new.txt").write_text("A new file.", encoding="utf-8")
    index_docs()
    wanted = texts(tmp_path / "store")
    shutil.rmtree(tmp_path / "store/passages.lance")
    shutil.copytree(tmp_path / "kept", tmp_path / "store/passages.lance")
    done = index_docs()
    assert (done.added, done.changed, done.total_files) == (1, 1, FILES + 1)
    assert texts(tmp_path / "store") == wanted


def test_a_damaged_ledger_can_be_deleted(index_docs, tmp_path: Path):
    index_docs()
    before = texts(tmp_path / "store")
    (tmp_path / "store/ledger.sqlite").write_bytes(b"damaged" * 1000)
    with pytest.raises(StoreError, match="Delete this file"):
        index_docs()
    (tmp_path / "store/ledger.sqlite").unlink()
    index_docs()
    assert texts(tmp_path / "store") == before
