"""``Stage``: a recipe's parameters with nothing left open, and what "auto" becomes.

That depends on the number of texts and on the model's width.
"""

import hashlib
import json
from dataclasses import asdict, dataclass

from sklearn_llm2vec._common.checks import is_integer, refused

# LLM2Vec's batches, learning rates (of 7B models, 4,096 features wide) and warm-up, and
# the number of steps after which it stopped (arXiv 2404.05961, 2.2 and appendix D).
PAPER = {
    "mntp": {"batch_size": 32, "learning_rate": 5e-5, "warmup": 0.0},
    "simcse": {"batch_size": 128, "learning_rate": 3e-5, "warmup": 0.0},
    "supervised": {"batch_size": 512, "learning_rate": 2e-4, "warmup": 0.3},
}
PAPER_STEPS = 1000
PAPER_WIDTH = 4096
# Narrow models reach it; above it, training became unstable.
HIGHEST_RATE = 1e-3
# Most passes over the texts where "auto" steps would be more; measured on small models.
PASSES = {"mntp": 10, "simcse": 5, "supervised": 10}
# The largest batch that "auto" takes: beyond it small models only became slower.
LARGEST_BATCH = 128


@dataclass(frozen=True)
class Stage:
    """One training: a recipe's parameters with nothing left open.

    `layer` is counted from 0, the embeddings.
    """

    name: str
    steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int
    mask_probability: float
    mask_strategy: str
    mask_token: str
    temperature: float
    dropout: object
    lora_rank: int
    lora_alpha: int
    lora_dropout: float
    lora_targets: object
    layer: int
    pooling: str
    max_length: int
    hard_negatives: int
    gradient_checkpointing: bool
    precision: str
    seed: int

    @property
    def digest(self):
        """SHA-256 of all that changes the adapter that comes out."""
        fields = asdict(self)
        # Less memory for more time, and nothing else.
        unused = {"gradient_checkpointing"}
        if self.name == "mntp":
            unused |= {"temperature", "layer", "pooling", "hard_negatives", "dropout"}
        else:
            unused |= {"mask_probability", "mask_strategy", "mask_token"}
        if self.name == "simcse":
            unused |= {"hard_negatives"}
        for field in unused:
            del fields[field]
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def make_stage(recipe, name, *, n_texts, n_layers, width, pooling, seed):
    """What one stage does with so many texts; see `LLM2VecRecipe.stage`."""
    batch = getattr(recipe, f"{name}_batch_size")
    if batch == "auto":
        batch = min(PAPER[name]["batch_size"], LARGEST_BATCH, max(8, n_texts // 4))
        batch = 2 ** (batch.bit_length() - 1)
    steps = getattr(recipe, f"{name}_steps")
    if steps == "auto":
        steps = min(PAPER_STEPS, -(-PASSES[name] * n_texts // batch))
    rate = getattr(recipe, f"{name}_learning_rate")
    if rate == "auto":
        # The paper's rates were made for 4,096 features. With 576, rates of 1e-3 were the
        # best (docs/experiments.md); the square lies between the two.
        rate = PAPER[name]["learning_rate"] * (PAPER_WIDTH / width) ** 2
        rate = min(rate, HIGHEST_RATE)
    warmup = getattr(recipe, f"{name}_warmup")
    if warmup == "auto":
        warmup = PAPER[name]["warmup"]
    if not is_integer(warmup):
        warmup = round(warmup * steps)
    targets = recipe.lora_targets
    return Stage(
        name=name,
        steps=int(steps),
        batch_size=int(batch),
        learning_rate=float(rate),
        warmup_steps=int(warmup),
        mask_probability=float(recipe.mask_probability),
        mask_strategy=recipe.mask_strategy,
        mask_token=recipe.mask_token,
        temperature=float(recipe.temperature),
        dropout="auto" if recipe.dropout == "auto" else float(recipe.dropout),
        lora_rank=int(recipe.lora_rank),
        lora_alpha=int(recipe.lora_alpha),
        lora_dropout=float(recipe.lora_dropout),
        lora_targets=targets if targets == "auto" else tuple(targets),
        layer=_counted_layer(recipe.layer, n_layers),
        pooling=pooling,
        max_length=int(recipe.max_length),
        hard_negatives=int(recipe.hard_negatives),
        gradient_checkpointing=bool(recipe.gradient_checkpointing),
        precision=recipe.precision,
        seed=int(seed if recipe.seed is None else recipe.seed),
    )


def _counted_layer(layer, n_layers):
    counted = int(layer) + (n_layers + 1 if layer < 0 else 0)
    if not 1 <= counted <= n_layers:
        expected = (
            f"from 1 to {n_layers}, the layers of the model, or negative from the end"
        )
        raise refused("layer", expected, int(layer), of="LLM2VecRecipe")
    return counted
