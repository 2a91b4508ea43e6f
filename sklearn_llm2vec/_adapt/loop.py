"""The training loop of one stage: transformers' Trainer, and what it leaves open.

That is checkpoints to resume from, smaller batches when memory runs out, a stop when the
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
from accelerate.utils.memory import should_reduce_batch_size
from safetensors.torch import load_file, save, save_file
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from sklearn_llm2vec._adapt.lora import (
    checkpoint_activations,
    lora_config,
    lora_state,
)
from sklearn_llm2vec._common.checks import warn
from sklearn_llm2vec._common.people import progress_bar

# What an interruption can lose.
CHECKPOINT_SECONDS = 60
WEIGHTS = "adapter_model.safetensors"
# Stands in a checkpoint that was written to its end.
WHOLE = "whole"


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
    if stage.gradient_checkpointing:
        checkpoint_activations(network)
    batch_size, n_parts = stage.batch_size, 1
    untrained = {name: value.clone() for name, value in lora_state(network).items()}
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
    config, weights = lora_config(network, name), save(lora_state(network))
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
