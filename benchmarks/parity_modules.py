"""The files that sentence-transformers puts around a model."""

from parity_folders import normal

MODES = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "mean_sqrt_len": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
OLD = "sentence_transformers.models."
# Where sentence-transformers 6 keeps its classes.
NEW = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
    "Dense": "sentence_transformers.base.modules.dense.Dense",
}


def modules(*kinds, types=None):
    """modules.json of these kinds, in order.

    Parameters
    ----------
    *kinds : str
    types : dict or None
        Kind -> full name of its class; the rest is sentence-transformers' of old.
    """
    types = types or {}
    return [
        {
            "idx": n,
            "name": str(n),
            "path": "" if n == 0 else f"{n}_{kind.rpartition('.')[2]}",
            "type": types.get(kind, OLD + kind),
        }
        for n, kind in enumerate(kinds)
    ]


def pooling_config(*modes, width=32, include_prompt=None, all_modes=False):
    """1_Pooling/config.json; the modes of 2023 and `include_prompt` only where asked."""
    names = list(MODES) if all_modes or include_prompt is not None else list(MODES)[:4]
    names += [mode for mode in modes if mode not in names]
    config = {"word_embedding_dimension": width}
    config |= {MODES[name]: name in modes for name in names}
    if include_prompt is not None:
        config["include_prompt"] = include_prompt
    return config


def settings(prompts=None, default=None, version="2.2.2", **others):
    """config_sentence_transformers.json."""
    made = {
        "__version__": {
            "sentence_transformers": version,
            "transformers": "4.28.1",
            "pytorch": "1.13.0",
        }
    }
    if prompts is not None:
        made |= {"prompts": prompts, "default_prompt_name": default}
    return made | others


def sentence_transformers(
    *modes,
    max_seq_length=512,
    lowercase=False,
    normalize=True,
    dense=(),
    include_prompt=None,
    prompts=None,
    default=None,
    settings_file="sentence_bert_config.json",
    width=32,
    types=None,
    **others,
):
    """All files around a transformer, a pooling, dense layers and unit length.

    Parameters
    ----------
    *modes : str
        Of the pooling.
    dense : sequence of dict
        Each with ``out`` and optionally ``bias``, ``activation``, ``dtype``.
    settings_file : str or None
        Where max_seq_length and do_lower_case are said.
    types : dict or None
        As `modules` takes it.
    **others
        Entries of config_sentence_transformers.json.
    """
    kinds = ["Transformer", "Pooling", *["Dense"] * len(dense)]
    kinds += ["Normalize"] * normalize
    made = {
        "modules.json": modules(*kinds, types=types),
        "config_sentence_transformers.json": settings(prompts, default, **others),
        "1_Pooling/config.json": pooling_config(
            *modes, width=width, include_prompt=include_prompt
        ),
    }
    if settings_file:
        made[settings_file] = {
            "max_seq_length": max_seq_length,
            "do_lower_case": lowercase,
        }
    for n, layer in enumerate(dense, start=2):
        made |= dense_layer(f"{n}_Dense", width, **layer)
        width = layer["out"]
    return made


def dense_layer(folder, width, out, bias=True, activation="Tanh", dtype=None):
    """A dense layer's configuration and weights."""
    names = {"Identity": "torch.nn.modules.linear.Identity"}
    kind = names.get(activation, f"torch.nn.modules.activation.{activation}")
    weights = {"linear.weight": normal(folder + "weight", (out, width), width**-0.5)}
    if bias:
        weights["linear.bias"] = normal(folder + "bias", (out,), 0.2)
    if dtype is not None:
        import torch

        weights = {
            name: torch.from_numpy(w).to(getattr(torch, dtype))
            for name, w in weights.items()
        }
    return {
        f"{folder}/config.json": {
            "in_features": width,
            "out_features": out,
            "bias": bias,
            "activation_function": kind,
        },
        f"{folder}/model.safetensors": weights,
    }
