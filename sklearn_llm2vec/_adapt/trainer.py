"""Training: one stage of an adaptation, from batches to a LoRA adapter.

peft brings the adapters and transformers' Trainer the loop; what is here is the loss of
each stage, checkpoints to resume from, smaller batches when memory runs out, and a stop
when the loss is no number.
"""

import json
import math
import random
import re
import shutil
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save, save_file
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from sklearn_llm2vec._adapt.losses import (
    class_loss,
    masked_token_loss,
    pair_loss,
    view_loss,
)
from sklearn_llm2vec._common.checks import warn
from sklearn_llm2vec._common.people import progress_bar
from sklearn_llm2vec._network.layers import find_layers
from sklearn_llm2vec._network.pooling import pool_all

# What an interruption can lose.
CHECKPOINT_SECONDS = 60
WEIGHTS = "adapter_model.safetensors"
# Stands in a checkpoint that was written to its end.
WHOLE = "whole"


def add_lora(network, stage, n_layers):
    """Put untrained LoRA adapters into a network's layers.

    Parameters
    ----------
    network : transformers model
    stage : Stage
    n_layers : int
        Layers that `network` has.

    Returns
    -------
    peft model
    """
    import peft

    kinds = {type(module).__name__ for module in network.modules()}
    config = peft.LoraConfig(
        r=stage.lora_rank,
        lora_alpha=stage.lora_alpha,
        lora_dropout=stage.lora_dropout,
        target_modules=_linear_maps(network, n_layers, stage.lora_targets),
        fan_in_fan_out="Conv1D" in kinds,
        bias="none",
    )
    try:
        with warnings.catch_warnings():
            # peft asks transformers by names that are going out of use.
            warnings.simplefilter("ignore", FutureWarning)
            return peft.get_peft_model(network, config)
    except ValueError as error:
        raise ValueError(
            "The 'lora_targets' parameter of LLM2VecRecipe must name linear layers of "
            f"{type(network).__name__}. Got {stage.lora_targets!r} instead: {error}"
        ) from error


def _linear_maps(network, n_layers, names="auto"):
    """What peft takes as the names of linear maps in these layers, and no others.

    A pattern and not a list: BERT's pooler has a name that its layers have too, and the
    whole model may have more layers than `network`.
    """
    layers = find_layers(network, n_layers)
    path, root = "", network
    if layers is not None:
        root = layers
        path = next(name for name, one in network.named_modules() if one is layers)
        path = rf"{re.escape(path)}\.(?:{'|'.join(map(str, range(n_layers)))})\."
    if names == "auto":
        names = {
            name.rpartition(".")[2]
            for name, module in root.named_modules()
            if isinstance(module, torch.nn.Linear) or type(module).__name__ == "Conv1D"
        }
    return f"{path}(?:.*\\.)?(?:{'|'.join(map(re.escape, sorted(names)))})"


def pool_batch(network, batch, stage, n_layers):
    """The pooled vectors that a contrastive stage trains.

    Parameters
    ----------
    network : callable
    batch : dict
        As `padded` makes it.
    stage : Stage
    n_layers : int
        Of the whole model; `network` may hold fewer.

    Returns
    -------
    float32 tensor of shape (n_rows, hidden)
    """
    last = stage.layer == n_layers
    output = network(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        output_hidden_states=not last,
    )
    states = output.last_hidden_state if last else output.hidden_states[stage.layer]
    ends = batch["lengths"] - 1
    return pool_all(states, batch["counted"], [stage.pooling], ends)[stage.pooling]


def make_loss(stage, n_layers, head=None):
    """The loss of a stage: a function of network and batch.

    Parameters
    ----------
    stage : Stage
    n_layers : int
    head : callable or None
        The language model's, for "mntp".
    """
    temperature = stage.temperature

    def masked(network, batch):
        states = network(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).last_hidden_state  # (batch, tokens, hidden)
        states = states[batch["predict_row"], batch["predict_at"]]  # (masked, hidden)
        if not len(states):  # a batch of texts without a token to hide
            return 0 * states.sum()
        return masked_token_loss(head(states), batch["targets"])

    def views(network, batch):
        first, second = pool_batch(network, batch, stage, n_layers).chunk(2)
        if torch.equal(first, second):
            raise ValueError(
                "The 'dropout' or the 'lora_dropout' parameter of LLM2VecRecipe must be "
                "above 0 for 'simcse'. This model has no dropout of its own: with "
                f"dropout={stage.dropout!r} and lora_dropout={stage.lora_dropout} its "
                "two views of a text are the same."
            )
        return view_loss(first, second, temperature)

    def supervised(network, batch):
        vectors = pool_batch(network, batch, stage, n_layers)
        n = int(batch["n_anchors"])
        if "classes" in batch:
            return class_loss(vectors, batch["classes"], n, temperature)
        own = torch.arange(n, device=vectors.device)
        return pair_loss(vectors[:n], vectors[n:], own, batch["excluded"], temperature)

    return {"mntp": masked, "simcse": views, "supervised": supervised}[stage.name]


class StageTrainer(Trainer):
    """transformers' Trainer with a loss of ours, whole batches, and LoRA checkpoints."""

    loss_is_scaled_for_ga = False  # a mean: the Trainer divides by the parts of a step

    def __init__(self, loss_of, stage, **kwargs):
        self.loss_of, self.stage = loss_of, stage
        super().__init__(**kwargs)

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        """The stage's loss; a loss that is no number ends the training."""
        loss = self.loss_of(model, inputs)
        if not math.isfinite(loss.detach().item()):
            rates = [group["lr"] for group in self.optimizer.param_groups]
            raise FloatingPointError(
                f"The loss of stage {self.stage.name!r} must stay a number. It became "
                f"{loss.detach().item()} at step {self.state.global_step + 1} of "
                f"{self.stage.steps} with the learning rate {max(rates):.2g}: lower "
                f"'{self.stage.name}_learning_rate' in the LLM2VecRecipe, or choose "
                "precision='float32'."
            )
        return (loss, None) if return_outputs else loss

    def _get_train_sampler(self, *args):
        return SequentialSampler(self.train_dataset)

    def _save(self, output_dir=None, state_dict=None):
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        save_file(_lora_state(self.model), Path(output_dir, WEIGHTS))

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        import peft

        state = load_file(Path(resume_from_checkpoint, WEIGHTS))
        peft.set_peft_model_state_dict(self.model, state)


class Progress(TrainerCallback):
    """A bar with the loss, and a checkpoint now and then."""

    def __init__(self, stage, verbose):
        self.stage, self.verbose, self.bar = stage, verbose, None
        self.saved = time.monotonic()

    def on_train_begin(self, args, state, control, **kwargs):
        """Open the bar where the training begins, or goes on."""
        self.bar = progress_bar(
            state.max_steps,
            "step",
            f"Adapting: {self.stage.name}",
            self.verbose,
            initial=state.global_step,
        )

    def on_step_end(self, args, state, control, **kwargs):
        """Move the bar; ask for a checkpoint when the last is old."""
        self.bar.update(state.global_step - self.bar.n)
        due = time.monotonic() - self.saved >= CHECKPOINT_SECONDS
        if due and state.global_step < state.max_steps:
            self.saved = time.monotonic()
            control.should_save = True

    def on_save(self, args, state, control, **kwargs):
        """Mark the checkpoint as whole, now that all of it is written."""
        Path(args.output_dir, f"checkpoint-{state.global_step}", WHOLE).touch()

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Show the loss."""
        if "loss" in (logs or {}):
            self.bar.set_postfix(loss=f"{logs['loss']:.3f}", refresh=False)

    def close(self):
        """Close the bar, whatever happened."""
        if self.bar is not None:
            self.bar.close()


def train_stage(network, stage, loss_of, make_batches, folder, *, name, verbose):
    """Train the adapters in a network.

    Parameters
    ----------
    network : peft model
        As `add_lora` makes it; changed in place.
    stage : Stage
    loss_of : callable
        Takes network and batch, returns the loss.
    make_batches : callable
        Takes the size of a batch and the number of batches, returns a data set of them.
    folder : Path
        For checkpoints; if it holds one of this stage, the training goes on from there.
    name : str or None
        Of the model, for those who look into the adapter's configuration.
    verbose : "auto" or bool

    Returns
    -------
    config : bytes
        The adapter's configuration, JSON.
    weights : bytes
        Its weights, safetensors.
    history : list of dict
        ``step``, ``loss`` and ``learning_rate`` of each step.
    n_parts : int
        Into how many parts batches were cut, because the memory was too small for one.

    Raises
    ------
    FloatingPointError
        When the loss is no number.
    """
    import peft
    from accelerate.utils.memory import should_reduce_batch_size

    if stage.gradient_checkpointing:
        checkpoint_activations(network)
    batch_size, n_parts = stage.batch_size, 1
    untrained = {name: value.clone() for name, value in _lora_state(network).items()}
    while True:
        # Other sizes have other batches: none goes on from another's checkpoint.
        place, progress = folder / f"batches-of-{batch_size}", Progress(stage, verbose)
        batches = make_batches(batch_size, n_parts * stage.steps)
        with own_randomness(stage.seed):
            trainer = _trainer(
                network, stage, loss_of, batches, place, n_parts, progress
            )
            try:
                trainer.train(resume_from_checkpoint=_newest_checkpoint(place))
                break
            except RuntimeError as error:
                if batch_size < 4 or not should_reduce_batch_size(error):
                    raise
            finally:
                progress.close()
        batch_size, n_parts = batch_size // 2, 2 * n_parts
        warn(
            f"The memory was too small for {stage.name!r}: its batches are now "
            f"{batch_size} texts, and {n_parts} of them make a step. Contrasts are made "
            "within such a part. Set the recipe's batch size, or "
            "gradient_checkpointing=True, to choose for yourself."
        )
        peft.set_peft_model_state_dict(network, untrained)
        network.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    network.eval()
    config, weights = _lora_config(network, name), save(_lora_state(network))
    return config, weights, _history_of(trainer), n_parts


def _history_of(trainer):
    """Loss and learning rate of each step."""
    return [
        {
            "step": entry["step"],
            "loss": float(entry["loss"]),
            "learning_rate": float(entry["learning_rate"]),
        }
        for entry in trainer.state.log_history
        if "loss" in entry
    ]


def _newest_checkpoint(folder):
    """The newest checkpoint that was written to its end; others are removed."""
    found = []
    for path in folder.glob("checkpoint-*"):
        if (path / WHOLE).is_file():
            found.append((int(path.name.rpartition("-")[2]), str(path)))
        else:  # the process was killed while it wrote
            shutil.rmtree(path, ignore_errors=True)
    return max(found, default=(0, None))[1]


def _trainer(network, stage, loss_of, batches, folder, n_parts, progress):
    on_cpu = network.device.type == "cpu"
    args = TrainingArguments(
        output_dir=str(folder),
        max_steps=stage.steps,
        per_device_train_batch_size=1,  # the items of the data set are batches
        gradient_accumulation_steps=n_parts,
        learning_rate=stage.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=stage.warmup_steps,
        weight_decay=0.0,
        optim="adamw_torch",
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",  # Progress asks for checkpoints
        save_total_limit=2,  # a kill may spoil the newest
        seed=stage.seed,
        use_cpu=on_cpu,
        disable_tqdm=True,
        report_to="none",
        remove_unused_columns=False,
        label_names=[],
        dataloader_pin_memory=not on_cpu,
    )
    args._n_gpu = min(args.n_gpu, 1)  # a batch isn't split: its texts are contrasted
    trainer = StageTrainer(
        loss_of,
        stage,
        model=network,
        args=args,
        train_dataset=batches,
        data_collator=lambda items: items[0],
        callbacks=[progress],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def checkpoint_activations(network):
    """Keep fewer activations: compute them again in the backward pass."""
    base = network.get_base_model()
    # transformers 5.24 renamed it.
    enable = getattr(base, "activation_checkpointing_enable", None)
    (enable or base.gradient_checkpointing_enable)({"use_reentrant": False})


def _lora_state(network):
    """The adapter's weights, by the names that peft and LLM2Vec give them."""
    import peft

    state = peft.get_peft_model_state_dict(network, save_embedding_layers=False)
    return {name: value.detach().cpu().contiguous() for name, value in state.items()}


def _lora_config(network, name):
    """The adapter's configuration as the JSON that peft reads; always the same bytes."""
    config = network.peft_config["default"].to_dict()
    config["inference_mode"] = True
    config["base_model_name_or_path"] = name
    base = network.get_base_model()
    config["auto_mapping"] = {
        "base_model_class": type(base).__name__,
        "parent_library": type(base).__module__,
    }
    plain = {
        key: sorted(value) if isinstance(value, set) else value
        for key, value in config.items()
    }
    return json.dumps(plain, indent=2, sort_keys=True, default=str).encode()


@contextmanager
def own_randomness(seed):
    """Seeded inside; outside, the user's random numbers go on as if nothing had been."""
    before = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])  # noqa: NPY002
