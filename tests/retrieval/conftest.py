"""Folders of documents to index, and an index over them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from finerank.retrieval.index import Indexed, index
from finerank.retrieval.store import Made
from finerank.testing import TermsEmbedder

TEXTS = {
    "router.md": "# Router\n\n## Reset\n\nHold the reset button for ten seconds.\n",
    "zh.txt": "要重置路由器的管理员密码，请按住机身背面的重置按钮十秒钟。本产品保修两年。",
    "ja.txt": "ルーターのパスワードを初期化するには、背面のボタンを十秒間押し続けます。",
    "th.txt": "หากต้องการรีเซ็ตรหัสผ่านเราเตอร์ ให้กดปุ่มค้างไว้สิบวินาที",
    "ko.txt": "공유기 비밀번호를 재설정하려면 뒷면의 버튼을 십 초 동안 누르십시오.",
    "warranty/en.txt": "The warranty covers two years from the date of purchase.",
}
MADE = Made("terms", "", 64)

IndexFolder = Callable[..., Indexed]


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """The texts as files, in five languages."""
    folder = tmp_path / "docs"
    for name, text in TEXTS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def index_docs(docs: Path, tmp_path: Path) -> IndexFolder:
    """Index the texts into tmp_path/store with an embedder that counts terms."""

    def run(paths: list[Path] | None = None, embedder: TermsEmbedder | None = None, **options: object) -> Indexed:
        return index(paths or [docs], tmp_path / "store", embedder or TermsEmbedder(), MADE, **options)

    return run
