"""The model card says what the run was."""

import yaml

from finerank.training.card import model_card

RECORD = {
    "model": "BAAI/bge-reranker-base",
    "kind": "cross-encoder",
    "settings": {"loss": "infonce", "distill": "", "learning_rate": 1e-05, "lists_per_step": 16},
    "data": {"examples": 1200, "sha256": "abcdef0123456789" * 4},
    "dev": {"examples": 50, "sha256": ""},
    "languages": ["en", "zh"],
    "versions": {"finerank": "0.1.0"},
    "steps": 75,
    "before": {"nDCG@10": 0.5, "RR@10": 0.4},
    "after": {"nDCG@10": 0.75, "RR@10": 0.6},
}


def front_matter(card: str) -> dict[str, object]:
    return yaml.safe_load(card.split("---")[1])


def test_the_hub_can_read_it():
    assert front_matter(model_card(RECORD)) == {
        "language": ["en", "zh"],
        "library_name": "transformers",
        "pipeline_tag": "text-ranking",
        "base_model": "BAAI/bge-reranker-base",
        "tags": ["reranker", "cross-encoder", "finerank"],
    }


def test_it_says_what_the_model_was_made_of_and_what_it_reached():
    card = model_card(RECORD)
    assert "on 1200 lists (SHA-256 abcdef0123456789) for 75 steps: loss infonce, learning rate 1e-05" in card
    assert "On 50 dev lists:" in card
    assert "| nDCG@10 | 0.5000 | 0.7500 |" in card
    assert "distilled" not in card
    assert "masked" not in card


def test_a_distilled_model_says_so():
    settings = {**RECORD["settings"], "distill": "kl"}
    assert "loss infonce, distilled with kl, learning" in model_card({**RECORD, "settings": settings})


def test_a_run_without_dev_lists_claims_nothing():
    card = model_card({**RECORD, "before": {}, "after": {}, "languages": []})
    assert "It was not judged" in card
    assert front_matter(card)["language"] == []


def test_a_local_folder_is_named_without_its_path(tmp_path):
    card = model_card({**RECORD, "model": str(tmp_path)})
    assert "base_model" not in front_matter(card)
    assert str(tmp_path.parent) not in card
    assert f"# A reranker trained from {tmp_path.name}" in card
