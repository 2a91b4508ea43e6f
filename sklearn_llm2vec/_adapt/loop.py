"""The training loop of one stage: transformers' Trainer, and what it leaves open.

That is checkpoints to resume from, smaller passes when memory runs out, a stop when the
loss is no number, and random numbers that leave those of the user alone.
"""

import math
import random
import shutil
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import peft
import torch
from safetensors.torch import load_file, save, save_file
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from sklearn_llm2vec._adapt.lora import (
    checkpoint_activations,
    lora_config,
    lora_state,
)
from sklearn_llm2vec._adapt.memory import tokens_that_fit
from sklearn_llm2vec._common.people import progress_bar
from sklearn_llm2vec._network.memory import is_out_of_memory

# What an interruption can lose.
CHECKPOINT_SECONDS = 60
WEIGHTS = "adapter_model.safetensors"
# Stands in a checkpoint that was written to its end.
WHOLE = "whole"


class StageTrainer(Trainer):
    """transformers' Trainer with gradients of ours, whole batches, LoRA checkpoints."""

    def __init__(self, gradient_of, stage, tokens_a_pass, tokens_at_once, **kwargs):
        self.gradient_of, self.stage = gradient_of, stage
        self.tokens_a_pass, self.tokens_at_once = tokens_a_pass, tokens_at_once
        super().__init__(**kwargs)

    def training_step(self, model, inputs, num_items_in_batch=None):
        """Add a batch's gradient; a loss that is no number ends the training."""
        model.train()
        loss = self._add_gradient(model, self._prepare_inputs(inputs))
        if not math.isfinite(loss.item()):
            rates = [group["lr"] for group in self.optimizer.param_groups]
            raise FloatingPointError(
                f"The loss of stage {self.stage.name!r} must be finite. It became "
                f"{loss.item()} at step {self.state.global_step + 1} of "
                f"{self.stage.steps} with the learning rate {max(rates):.2g}: lower "
                f"'{self.stage.name}_learning_rate' in the LLM2VecRecipe, or choose "
                "precision='float32'."
            )
        return loss

    def _add_gradient(self, model, batch):
        """The loss of a batch, in smaller passes once the memory has run out."""
        everything = batch["input_ids"].numel()
        while True:
            at_once = everything <= self.tokens_at_once
            n_tokens = everything if at_once else self.tokens_a_pass
            try:
                return self.gradient_of(model, batch, n_tokens)
            except RuntimeError as error:
                longest = batch["input_ids"].shape[1]
                if n_tokens <= longest or not is_out_of_memory(error):
                    raise
            model.zero_grad(set_to_none=True)
            self.tokens_a_pass = min(self.tokens_a_pass, n_tokens // 2)
            self.tokens_at_once = self.tokens_a_pass
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _get_train_sampler(self, *args):
        return SequentialSampler(self.train_dataset)

    def _save(self, output_dir=None, state_dict=None):
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        save_file(lora_state(self.model), Path(output_dir, WEIGHTS))

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
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


def train_stage(network, stage, gradient_of, batches, folder, *, name, verbose):
    """Train the adapters in a network.

    Parameters
    ----------
    network : peft model
        As `add_lora` makes it; changed in place.
    stage : Stage
    gradient_of : callable
        As `make_gradient` makes it.
    batches : Batches
        One for each step.
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

    Raises
    ------
    FloatingPointError
        When the loss is no number.
    """
    if stage.gradient_checkpointing:
        checkpoint_activations(network)
    tokens_a_pass, tokens_at_once = tokens_that_fit(network, batches)
    progress = Progress(stage, verbose)
    with own_randomness(stage.seed):
        trainer = StageTrainer(
            gradient_of,
            stage,
            tokens_a_pass,
            tokens_at_once,
            model=network,
            args=_arguments(stage, folder, on_cpu=network.device.type == "cpu"),
            train_dataset=batches,
            data_collator=lambda items: items[0],
            callbacks=[progress],
        )
        trainer.remove_callback(PrinterCallback)
        try:
            trainer.train(resume_from_checkpoint=_newest_checkpoint(folder))
        finally:
            progress.close()
    network.eval()
    config, weights = lora_config(network, name), save(lora_state(network))
    return config, weights, _history_of(trainer)


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


def _arguments(stage, folder, on_cpu):
    args = TrainingArguments(
        output_dir=str(folder),
        max_steps=stage.steps,
        per_device_train_batch_size=1,  # the items of the data set are batches
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
    return args


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
