"""LoRA adapters in a network's layers, through peft: put in, and read out."""

import json
import re
import warnings

import peft
import torch

from sklearn_llm2vec._network.layers import find_layers


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


def checkpoint_activations(network):
    """Keep fewer activations: compute them again in the backward pass."""
    base = network.get_base_model()
    # transformers 5.24 renamed it.
    enable = getattr(base, "activation_checkpointing_enable", None)
    (enable or base.gradient_checkpointing_enable)({"use_reentrant": False})


def lora_state(network):
    """The adapter's weights, by the names that peft and LLM2Vec give them."""
    state = peft.get_peft_model_state_dict(network, save_embedding_layers=False)
    return {name: value.detach().cpu().contiguous() for name, value in state.items()}


def lora_config(network, name):
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
