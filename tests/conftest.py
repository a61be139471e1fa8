"""What the tests share: real text, real tokenizers, and tiny seeded models as Hugging Face writes them."""

import json
import os
import pydoc_data.topics
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from finerank.training.examples import Example

ROOT = Path(__file__).parents[1]
MakeModel = Callable[..., Path]
WriteSet = Callable[..., Path]
MakeLists = Callable[..., list[Example]]

BERT_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA_SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]

# After article 1 of the Universal Declaration of Human Rights.
ARTICLE_1 = {
    "ar": "يولد جميع الناس أحراراً متساوين في الكرامة والحقوق، وقد وهبوا عقلاً وضميراً.",
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren und mit Vernunft begabt.",
    "en": "All human beings are born free and equal in dignity and rights and endowed with reason.",
    "hi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "ja": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "ko": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "ru": "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "th": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "zh": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
}


def pytest_configure() -> None:
    os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is first imported: no test may use the network


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if on_gpu:
        import torch

        if not torch.cuda.is_available():
            for item in on_gpu:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("FINERANK_")]:
            patch.delenv(name)
        patch.setenv("FINERANK_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def default_model() -> Path:
    """The folder of the model that ships in the package."""
    return ROOT / "src/finerank/models/finerank-mini"


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of ms-marco-MiniLM-L-12-v2 as int8 ONNX, quantised at run time."""
    return ROOT / ".assets/ms-marco-MiniLM-L-12-v2-int8"


@pytest.fixture(scope="session")
def xlmr_tokenizer() -> Path:
    """XLM-RoBERTa's real tokenizer.json."""
    return ROOT / ".assets/xlm-roberta-tokenizer/tokenizer.json"


@pytest.fixture(scope="session")
def real_texts() -> list[str]:
    """A sentence in each of nine languages, and paragraphs of Python's reference, 200 to 2000 characters."""
    paragraphs = [part for topic in pydoc_data.topics.topics.values() for part in topic.split("\n\n")]
    return [*ARTICLE_1.values(), *(text for text in paragraphs if 200 <= len(text) <= 2000)][:400]


@pytest.fixture(scope="session")
def bert_tokenizer(real_texts: list[str]) -> Tokenizer:
    """A small WordPiece tokenizer with BERT's layout: [CLS] query [SEP] passage [SEP], types 0 and 1."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(real_texts, trainers.BpeTrainer(vocab_size=1000, show_progress=False))
    pieces = sorted(tokenizer.get_vocab(), key=tokenizer.token_to_id)  # WordPieceTrainer's differ from run to run
    vocabulary = [*BERT_SPECIALS, *pieces, *(f"##{piece}" for piece in pieces)]
    tokenizer.model = models.WordPiece({token: i for i, token in enumerate(vocabulary[:2000])}, unk_token="[UNK]")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return tokenizer


@pytest.fixture(scope="session")
def roberta_tokenizer(real_texts: list[str]) -> Tokenizer:
    """A small byte-level BPE tokenizer with RoBERTa's layout: <s> query </s></s> passage </s>."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    specials = [*ROBERTA_SPECIALS[:-1], AddedToken("<mask>", lstrip=True, special=True)]
    trainer = trainers.BpeTrainer(
        vocab_size=2000, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(real_texts, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return tokenizer


@pytest.fixture(scope="session")
def make_model(
    tmp_path_factory: pytest.TempPathFactory,
    bert_tokenizer: Tokenizer,
    roberta_tokenizer: Tokenizer,
    xlmr_tokenizer: Path,
) -> MakeModel:
    """`make_model(model_type, **config)`: the folder of a tiny seeded one-label classifier for 128 tokens.

    Made once a session and shared: copy the folder before changing it.
    """
    import torch
    import transformers

    tokenizers = {
        "bert": bert_tokenizer,
        "modernbert": bert_tokenizer,
        "deberta-v2": bert_tokenizer,
        "roberta": roberta_tokenizer,
        "camembert": roberta_tokenizer,
        "mpnet": roberta_tokenizer,
        "xlm-roberta": Tokenizer.from_file(str(xlmr_tokenizer)),
    }
    like_roberta = {
        "max_position_embeddings": 130,
        "pad_token_id": 1,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
    }
    own = {
        "bert": {"type_vocab_size": 2},
        "roberta": like_roberta,
        "camembert": like_roberta,
        "mpnet": {"max_position_embeddings": 130},
        "xlm-roberta": like_roberta,
        "modernbert": {"global_attn_every_n_layers": 2, "local_attention": 32},
        "deberta-v2": {
            "relative_attention": True,
            "position_buckets": 16,
            "pos_att_type": ["p2c", "c2p"],
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "position_biased_input": False,
            "type_vocab_size": 0,
        },
    }

    @cache
    def make(model_type: str, **config: object) -> Path:
        tokenizer = tokenizers[model_type]
        specials = BERT_SPECIALS if tokenizer is bert_tokenizer else ROBERTA_SPECIALS
        bos, pad, eos = (tokenizer.token_to_id(specials[i]) for i in ((0, 1, 2) if specials[0] == "<s>" else (2, 0, 3)))
        settings = transformers.AutoConfig.for_model(
            model_type,
            **{
                "vocab_size": tokenizer.get_vocab_size(),
                "hidden_size": 32,
                "num_hidden_layers": 3,
                "num_attention_heads": 4,
                "intermediate_size": 64,
                "max_position_embeddings": 128,
                "pad_token_id": pad,
                "bos_token_id": bos,
                "eos_token_id": eos,
                "cls_token_id": bos,
                "sep_token_id": eos,
                "num_labels": 1,
                **own[model_type],
                **config,
            },
        )
        model = transformers.AutoModelForSequenceClassification.from_config(settings)
        _seed(torch, model)
        folder = tmp_path_factory.mktemp(model_type)
        model.save_pretrained(folder)
        unknown, mask = ("<unk>", "<mask>") if specials[0] == "<s>" else ("[UNK]", "[MASK]")
        transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            cls_token=tokenizer.id_to_token(bos),
            sep_token=tokenizer.id_to_token(eos),
            pad_token=tokenizer.id_to_token(pad),
            unk_token=unknown,
            mask_token=mask,
            model_max_length=128,
            model_input_names=[
                "input_ids",
                "attention_mask",
                *(["token_type_ids"] if model_type == "bert" else []),
            ],
        ).save_pretrained(folder)
        return folder

    return make


def _seed(torch, model) -> None:
    """Large weights, biases that are not 0 and norms that are not 1: nothing can be left out unseen."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data = 1 + 0.2 * noise if "norm" in name.lower() and name.endswith("weight") else 0.3 * noise


CORPUS = [
    {"_id": "reset", "title": "Router", "text": "Hold the reset button."},
    {"_id": "dry", "title": "", "text": "Keep the router dry."},
    {"_id": "lamp", "text": "The lamp is green."},
    {"_id": "unread", "text": "Nobody finds this."},
]
QUERIES = [{"_id": "q1", "text": "reset button"}, {"_id": "q2", "text": "green lamp"}]
CANDIDATES = [
    {"qid": "q1", "candidates": ["dry", "lamp", "reset"]},
    {"qid": "q2", "candidates": ["lamp", "dry"]},
]
QRELS = [("q1", "reset", 1), ("q1", "dry", 0), ("q2", "lamp", 2), ("q2", "unread", 1)]


def json_lines(rows: Sequence[Mapping[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def write_set(tmp_path: Path) -> WriteSet:
    """`write_set(name, file=content)`: a BEIR folder, with other content in the files named."""

    def write(name: str = "manual", **changed: str | None) -> Path:
        files = {
            "corpus.jsonl": json_lines(CORPUS),
            "queries.jsonl": json_lines(QUERIES),
            "candidates.jsonl": json_lines(CANDIDATES),
            "qrels.tsv": "query-id\tcorpus-id\tscore\n" + "".join("\t".join(map(str, row)) + "\n" for row in QRELS),
            "meta.json": '{"query_lang": "en", "doc_lang": "en"}',
        }
        folder = tmp_path / name
        folder.mkdir()
        for file, content in files.items():
            content = changed.get(file.partition(".")[0], content)
            if content is not None:
                (folder / file).write_text(content, encoding="utf-8")
        return folder

    return write


TINY_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
TINY_WORDS = tuple(f"{first}{second}" for first in "bdfgklmnprst" for second in ("ada", "elo", "iru"))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reranker with two layers of 32, drawn at random, whose tokens are the words of `TINY_WORDS`; 64 positions."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    vocabulary = {token: index for index, token in enumerate((*TINY_SPECIALS, ".", *TINY_WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(list(TINY_SPECIALS))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.2,
        num_labels=1,
    )
    folder = tmp_path_factory.mktemp("tiny")
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="session")
def late_model(make_model: MakeModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny late-interaction model of three layers with an exit after the first and one of its own: the model's
    third."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("late") / "model"
    shutil.copytree(make_model("bert"), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["BertForLateInteraction"]}))
    weights, generator = load_file(folder / "model.safetensors"), torch.Generator().manual_seed(7)
    for name, weight in weights.items():
        if ".layer." in name and weight.ndim == 2:
            weight *= 0.3  # so that a layer adds no more than a trained one does: else 8 bits are seen
    weights["bert.pooler.dense.weight"] = torch.randn(32, 32, generator=generator) * 0.1
    weights["classifier.weight"] = torch.randn(1, 32, generator=generator) * 0.3
    weights["classifier.bias"] = torch.tensor([-2.0])
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    head = {"dense": "bert.pooler.dense", "out": "classifier"}
    tensors = {f"{of}.{kind}": weights[f"{name}.{kind}"] for of, name in head.items() for kind in ("weight", "bias")}
    third = "bert.encoder.layer.2."
    own = {name.replace(third, "layer.0."): weight for name, weight in weights.items() if name.startswith(third)}
    save_file({**tensors, **own, "layers": torch.tensor([1.0])}, folder / "exit.safetensors")
    return folder


@pytest.fixture(scope="session")
def make_lists() -> MakeLists:
    """`make_lists(count, seed)`: lists of six passages, of which the relevant one, anywhere, holds the query's word."""

    def make(count: int, seed: int = 0, words: int = 6) -> list[Example]:
        return [_list(np.random.default_rng((seed, number)), words) for number in range(count)]

    return make


def _list(rng: np.random.Generator, words: int) -> Example:
    wanted, *others = rng.permutation(TINY_WORDS)
    passages = [list(rng.choice(others, words)) for _ in range(6)]
    relevant = int(rng.integers(6))
    passages[relevant][int(rng.integers(words))] = wanted
    labels = tuple(float(index == relevant) for index in range(6))
    return Example(str(wanted), tuple(" ".join(passage) for passage in passages), labels)
