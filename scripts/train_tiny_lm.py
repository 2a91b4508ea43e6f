"""Train a small causal decoder (Llama architecture, own BPE tokenizer) on plain text.

For the experiments with LLM2Vec's adaptation, which need a decoder that has really been
trained. Reads the corpora of shared/data beside the repository, or the files that are
given: one paragraph a line, an empty line between documents. Writes a Hugging Face
folder; checkpoints over 10 MB stay out of the repository.

    python scripts/train_tiny_lm.py OUT --minutes 60

Matrices are trained by Muon, everything else by AdamW. The learning rate follows the time
that has passed and not a number of steps, so the run ends when it was told to, also on a
machine that is busy with other things.
"""

import argparse
import gzip
import itertools
import json
import math
import time
from pathlib import Path

import numpy as np
import torch

CORPORA = ("corpus_wikipedia_en", "corpus_wikinews_en", "corpus_gutenberg_en")
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
SPECIAL = ["<s>", "</s>", "<mask>"]


def read_documents(files):
    """Yield documents: paragraphs up to the next empty line, joined by newlines."""
    for path in files:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8") as lines:
            groups = itertools.groupby(lines, key=lambda line: bool(line.strip()))
            for is_text, paragraphs in groups:
                if is_text:
                    yield "".join(paragraphs).strip()


def train_tokenizer(documents, n_tokens):
    """A byte-level BPE that puts ``<s>`` in front of every text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from tokenizers.trainers import BpeTrainer
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=n_tokens,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(documents, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
        mask_token="<mask>",
    )


def pack(tokenizer, documents, length):
    """All documents as rows of ids, of shape (n_rows, length + 1)."""
    ids = []
    for start in range(0, len(documents), 512):
        for encoded in tokenizer(documents[start : start + 512], verbose=False)[
            "input_ids"
        ]:
            ids.append(np.array(encoded, dtype=np.int32))
    flat = np.concatenate(ids)
    n_rows = len(flat) // (length + 1)
    return torch.from_numpy(flat[: n_rows * (length + 1)].reshape(n_rows, -1))


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix is made orthogonal before each step (Jordan et al., 2024).

    torch has it too, but does the arithmetic in bfloat16, which takes CPUs without it
    several times as long.
    """

    def __init__(self, matrices, lr, momentum=0.95, weight_decay=0.01):
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(matrices, defaults)

    @torch.no_grad()
    def step(self):
        """One step for each matrix of shape (out, in)."""
        for group in self.param_groups:
            for matrix in group["params"]:
                state = self.state[matrix]
                if not state:
                    state["mean"] = torch.zeros_like(matrix)
                state["mean"].lerp_(matrix.grad, 1 - group["momentum"])
                ahead = matrix.grad.lerp(state["mean"], group["momentum"])
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                scale = max(1, matrix.shape[0] / matrix.shape[1]) ** 0.5
                matrix.add_(orthogonal(ahead), alpha=-group["lr"] * scale)


def orthogonal(matrix, n_steps=5):
    """Five Newton-Schulz steps toward the nearest matrix with singular values of one."""
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.T
    x = x / (x.norm() + 1e-7)
    for _ in range(n_steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide else x.T


def make_optimizers(network, muon_lr, adamw_lr):
    """Muon for the layers' matrices, AdamW for the rest."""
    inside = network.model.layers.named_parameters()
    matrices = [parameter for _, parameter in inside if parameter.ndim == 2]
    chosen = {id(parameter) for parameter in matrices}
    rest = [p for p in network.parameters() if id(p) not in chosen]
    return (
        Muon(matrices, lr=muon_lr),
        torch.optim.AdamW(rest, lr=adamw_lr, betas=(0.9, 0.95), weight_decay=0.01),
    )


def rate(share, warm_up=0.03, cool_down=0.5):
    """Factor of the learning rate after a share of the run: up, level, down to 0."""
    return min(1.0, share / warm_up, max(0.0, (1 - share) / cool_down))


@torch.inference_mode()
def held_out_loss(network, rows):
    """Mean loss of a token."""
    network.eval()
    losses = [network(input_ids=part, labels=part).loss for part in rows.split(16)]
    network.train()
    return float(torch.stack(losses).mean())


def train(network, rows, held_out, args):
    """Train for the time that `args` allows; return what was seen."""
    order = torch.randperm(
        len(rows), generator=torch.Generator().manual_seed(args.seed)
    )
    batches = itertools.cycle(order.split(args.batch))
    optimizers = make_optimizers(network, args.muon_lr, args.adamw_lr)
    peaks = [group["lr"] for o in optimizers for group in o.param_groups]
    started, shown, n_tokens, step = time.monotonic(), 0.0, 0, 0
    network.train()
    while (share := (time.monotonic() - started) / (60 * args.minutes)) < 1:
        for peak, group in zip(
            peaks, (g for o in optimizers for g in o.param_groups), strict=True
        ):
            group["lr"] = peak * rate(share)
        batch = rows[next(batches)].long().to(network.device)  # (batch, length + 1)
        loss = network(input_ids=batch, labels=batch).loss
        if not math.isfinite(loss.item()):
            raise RuntimeError(
                f"The loss is {loss.item()} at step {step}: lower the rates."
            )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step, n_tokens = step + 1, n_tokens + batch.numel()
        if time.monotonic() - shown > 120:
            shown = time.monotonic()
            speed = n_tokens / (shown - started)
            print(
                f"{share:4.0%}  step {step}  loss {loss.item():.3f}  held out "
                f"{held_out_loss(network, held_out):.3f}  {n_tokens:,} tokens  "
                f"{speed:,.0f}/s",
                flush=True,
            )
    return {
        "steps": step,
        "tokens": n_tokens,
        "epochs": round(step * args.batch / len(rows), 2),
        "held_out_loss": round(held_out_loss(network, held_out), 3),
    }


def main():
    """Read the command line, train, save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--muon-lr", type=float, default=0.02)
    parser.add_argument("--adamw-lr", type=float, default=0.003)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    from transformers import LlamaConfig, LlamaForCausalLM

    files = args.files or [SHARED / name / "corpus.txt.gz" for name in CORPORA]
    documents = list(read_documents(files))
    tokenizer = train_tokenizer(documents, args.vocabulary)
    generator = np.random.default_rng(args.seed)
    documents = [documents[i] for i in generator.permutation(len(documents))]
    rows = pack(tokenizer, documents, args.length)
    held_out, rows = rows[:64].long().to(args.device), rows[64:]
    torch.manual_seed(args.seed)
    n_heads = args.hidden // 32
    network = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=args.hidden,
            intermediate_size=args.hidden * 11 // 4 // 32 * 32,
            num_hidden_layers=args.layers,
            num_attention_heads=n_heads,
            num_key_value_heads=n_heads // 2,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    ).to(args.device)
    n_parameters = sum(p.numel() for p in network.parameters())
    print(f"{n_parameters:,} parameters, {rows.numel():,} tokens", flush=True)
    seen = train(network, rows, held_out, args)
    network.save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    print(json.dumps({"parameters": n_parameters, **seen}))


if __name__ == "__main__":
    main()
