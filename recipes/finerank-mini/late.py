"""multilingual-e5-small as a late-interaction reranker: its layers as they are, and a head fitted to lists.

    python recipes/finerank-mini/late.py TRIMMED LISTS OUT

TRIMMED is what trim.py made, LISTS what examples.py made. The head begins by comparing the encoder's vectors as they
are, less their mean, and learns by InfoNCE over a list's own passages and over those of all lists of a step:
without the latter it forgets how languages lie to each other.
"""

import argparse
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression
from tokenizers import Tokenizer
from torch import Tensor
from transformers import BertModel

from finerank.training.examples import Example, read_examples

LAST = 12
SHARPNESS = 30.0
"""The mean product of a token's vector with itself, at first."""
RATE = 1e-4
"""Of learning, of the vectors."""
WEIGHTS_RATE = 3e-3
"""Of the tokens' weights."""
LISTS_PER_STEP = 16
EPOCHS = 2
HELD_OUT = 200
TOKENS, TOKENS_AT_ONCE = 160, 6000


def states_of(folder: Path, texts: list[str], layers: Sequence[int]) -> list[list[Tensor]]:
    """For each of the layers the states [tokens, hidden] of each text after it, in bfloat16."""
    model = BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(TOKENS)
    ids = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    found = [[torch.empty(0)] * len(ids) for _ in layers]
    for group in grouped([len(of) for of in ids]):
        rows = torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(ids[place]) for place in group], batch_first=True, padding_value=model.config.pad_token_id
        )
        mask = (rows != model.config.pad_token_id).long()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            states = model(input_ids=rows, attention_mask=mask, output_hidden_states=True).hidden_states
        for layer, kept in zip(layers, found, strict=True):
            for row, place in enumerate(group):
                kept[place] = states[layer][row, : len(ids[place])].to(torch.bfloat16, copy=True)
    return found


def grouped(lengths: list[int]) -> Iterator[list[int]]:
    """Places of texts of like length, that are read together."""
    group: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if group and lengths[place] * (len(group) + 1) > TOKENS_AT_ONCE:
            yield group
            group = []
        group.append(place)
    yield group


@dataclass
class Head:
    """What `finerank.scoring.families` calls dense and out."""

    dense: Tensor
    dense_bias: Tensor
    out: Tensor
    out_bias: Tensor

    @classmethod
    def begin(cls, states: Tensor) -> "Head":
        """Compares such states as they are, less their mean; every token of a query weighs the same."""
        mean = states.mean(0)
        scale = (SHARPNESS / (states - mean).square().sum(1).mean()).sqrt()
        size = len(mean)
        return cls(torch.eye(size) * scale, -mean * scale, torch.zeros(size), torch.zeros(1))

    def vectors(self, states: Tensor) -> Tensor:
        """What tokens are compared by."""
        return states @ self.dense.T + self.dense_bias

    def scores(self, queries: list[Tensor], passages: list[Tensor]) -> Tensor:
        """[queries, passages]"""
        vectors = self.vectors(torch.cat(passages).float())
        lengths = torch.tensor([len(passage) for passage in passages])
        rows = []
        for query in queries:
            x = query.float()
            products = vectors @ self.vectors(x).T
            best = torch.segment_reduce(products.contiguous(), "max", lengths=lengths)
            rows.append(best @ torch.softmax(x @ self.out, 0))
        return torch.stack(rows) + self.out_bias

    def tensors(self) -> dict[str, Tensor]:
        return {
            "dense.weight": self.dense.detach(),
            "dense.bias": self.dense_bias.detach(),
            "out.weight": self.out.detach()[None],
            "out.bias": self.out_bias.detach(),
        }


@dataclass
class Texts:
    """The states of lists: a query's, then its passages', of which the first answers it."""

    lists: list[Example]
    states: list[Tensor]

    def __post_init__(self) -> None:
        self._starts = [0, *accumulate(1 + len(of.passages) for of in self.lists)]

    def take(self, lists: list[int]) -> tuple[list[Tensor], list[Tensor], list[tuple[int, int]]]:
        """The queries, the passages of them all, and which of these are each one's own, as (first, last)."""
        spans = [(self._starts[place], self._starts[place + 1]) for place in lists]
        passages = [self.states[text] for first, last in spans for text in range(first + 1, last)]
        ends = accumulate((last - first - 1 for first, last in spans), initial=0)
        return [self.states[first] for first, _ in spans], passages, list(pairwise(ends))


def answers(scores: Tensor, own: list[tuple[int, int]]) -> Tensor:
    """InfoNCE of scores [queries, passages], over each query's own passages, (first, last), and over all."""
    alone = [-torch.log_softmax(row[begin:end], 0)[0] for row, (begin, end) in zip(scores, own, strict=True)]
    among = [-torch.log_softmax(row, 0)[begin] for row, (begin, _) in zip(scores, own, strict=True)]
    return torch.stack(alone + among).mean()


def fit(head: Head, texts: Texts, lists: range) -> None:
    parameters = [head.dense, head.dense_bias, head.out]
    for parameter in parameters:
        parameter.requires_grad_()
    optimizer = torch.optim.Adam(
        [{"params": parameters[:2], "lr": RATE}, {"params": parameters[2:], "lr": WEIGHTS_RATE}]
    )
    steps = EPOCHS * (len(lists) // LISTS_PER_STEP)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    rng, losses = np.random.default_rng(0), []
    for _ in range(EPOCHS):
        order = rng.permutation(lists).tolist()
        for first in range(0, len(order) - LISTS_PER_STEP + 1, LISTS_PER_STEP):
            queries, passages, own = texts.take(order[first : first + LISTS_PER_STEP])
            loss = answers(head.scores(queries, passages), own)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    print(f"loss {np.mean(losses[:20]):.3f} to {np.mean(losses[-20:]):.3f} in {steps} steps")


def calibrate(head: Head, texts: Texts, lists: range) -> None:
    """Scale and offset by Platt's method, if as many passages answered as did not: a score is 0.5 where a passage of a
    query's own list is as likely to answer as not, and as steep as over all passages of a step."""
    logits, answered, of_own_list = [], [], []
    for first in range(lists.start, lists.stop, LISTS_PER_STEP):
        queries, passages, own = texts.take(list(range(first, min(first + LISTS_PER_STEP, lists.stop))))
        with torch.inference_mode():
            logits += head.scores(queries, passages).flatten().tolist()
        answered += [place == begin for begin, _ in own for place in range(len(passages))]
        of_own_list += [begin <= place < end for begin, end in own for place in range(len(passages))]
    x, y, own_only = np.array(logits)[:, None], np.array(answered), np.array(of_own_list)
    everywhere = LogisticRegression(class_weight="balanced").fit(x, y)
    among_own = LogisticRegression(class_weight="balanced").fit(x[own_only], y[own_only])
    slope, middle = float(everywhere.coef_[0, 0]), -float(among_own.intercept_[0] / among_own.coef_[0, 0])
    with torch.no_grad():
        head.dense *= slope**0.5
        head.dense_bias *= slope**0.5
        head.out_bias = (head.out_bias - middle) * slope


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("trimmed", "lists", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--count", type=int, default=1400, help="lists to fit the head to")
    options = parser.parse_args()
    torch.manual_seed(0)
    everything = list(read_examples(options.lists))
    chosen = np.random.default_rng(0).permutation(len(everything))[: options.count + HELD_OUT]
    lists = [everything[place] for place in chosen]
    [states] = states_of(options.trimmed, [text for of in lists for text in (of.query, *of.passages)], [LAST])
    texts = Texts(lists, states)
    head = Head.begin(torch.cat(texts.states[:600]).float())
    fit(head, texts, range(options.count))
    calibrate(head, texts, range(options.count, options.count + HELD_OUT))
    options.out.mkdir(parents=True, exist_ok=True)
    weights = {f"bert.{name}": weight for name, weight in load_file(options.trimmed / "model.safetensors").items()}
    for part, name in (("dense", "bert.pooler.dense"), ("out", "classifier")):
        weights |= {f"{name}.{kind}": head.tensors()[f"{part}.{kind}"] for kind in ("weight", "bias")}
    save_file(weights, options.out / "model.safetensors", {"format": "pt"})
    config = json.loads((options.trimmed / "config.json").read_text(encoding="utf-8"))
    config |= {"architectures": ["BertForLateInteraction"], "id2label": {"0": "LABEL_0"}, "finerank_max_length": 256}
    (options.out / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    shutil.copy(options.trimmed / "tokenizer.json", options.out)


if __name__ == "__main__":
    main()
