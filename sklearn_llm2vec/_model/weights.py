"""Weights: all that the network needs are in the files, all in the files are used.

What a network doesn't take is silently dropped by transformers: biases that the
configuration denies, scales of quantized weights. What it lacks is filled at random. Both
give vectors that look like any others.
"""

import re

import torch

# Parts that are on top of a base model, or beside it, by the names that they have.
_ON_TOP = re.compile(
    r"""(^|[._])(
    lm_head|lm_loss|\w*head\w*|cls|classifier|classification|score|\w*classif\w*|
    pooler|\w*predictions?|vocab_(transform|layer_norm|projector)|qa_outputs|
    embed_out|final_logits_bias|logit_\w+|mlm\w*|nsp\w*|seq_relationship|
    proj_out|text_projection|visual_projection
    )([._]|$)|^decoder\.(weight|bias)$|^(dense|out_proj)\.(weight|bias)$""",
    re.VERBOSE,
)
# Tables that old versions of transformers saved, and that follow from the configuration.
_TABLES = re.compile(r"(position_ids|inv_freq|masked_bias|\.attn(ention)?\.bias)$")


def check_filled(report, model):
    """Raise when weights are missing or have another shape.

    Parameters
    ----------
    report : dict
        As ``from_pretrained(..., output_loading_info=True)`` gives it.
    model : ModelFolder

    Raises
    ------
    ValueError
    """
    # BERT's pooler is no part of the hidden states.
    missing = sorted(name for name in report["missing_keys"] if "pooler" not in name)
    wrong = report.get("mismatched_keys") or ()
    if missing or wrong:
        name = missing[0] if missing else str(next(iter(wrong)))
        raise ValueError(
            f"The weights in {model.place} must fill every layer that is used. "
            f"{len(missing)} are missing and {len(wrong)} have another shape, {name} "
            "first: the folder is incomplete or isn't a text encoder or decoder."
        )


def check_used(report, model, network, layers):
    """Raise when the files hold weights that the network has no place for.

    Parameters
    ----------
    report, model
        As `check_filled` takes them.
    network : transformers model
        Without heads.
    layers : ModuleList or None
        The layers that were loaded, perhaps fewer than the model has.

    Raises
    ------
    ValueError
    """
    unused = _unused(report, model, network, layers)
    if unused:
        names = ", ".join(unused[:3]) + (", ..." if len(unused) > 3 else "")
        raise ValueError(
            f"The weights in {model.place} must be those of the network that its "
            f"config.json describes. Got {len(unused)} more that don't belong to it: "
            f"{names}. Without them, the vectors would be wrong: correct config.json, "
            "install the version of transformers that it was made for, or convert "
            "quantized weights to bfloat16 or float32."
        )


def _unused(report, model, network, layers):
    """Names of weights that belong to the network, or to nothing known."""
    prefix = f"{network.base_model_prefix}." if network.base_model_prefix else ""
    place = next((n for n, m in network.named_modules() if m is layers), None)
    unused = []
    for name in sorted(report.get("unexpected_keys") or ()):
        inner = name.removeprefix(prefix)
        inside = hasattr(network, inner.partition(".")[0])
        if _TABLES.search(name) or "pooler" in name:
            continue
        if model.is_encoder_decoder and inner.startswith("decoder.") and not inside:
            continue  # the encoder alone was made
        if inside and not _was_cut(inner, place, layers, model.n_layers):
            unused.append(name)
        elif not inside and not _ON_TOP.search(inner):
            unused.append(name)
    return unused


def _was_cut(name, place, layers, n_layers):
    """Whether a weight is of a layer deeper than those that are loaded."""
    if place is None or not name.startswith(f"{place}."):
        return False
    number = name[len(place) + 1 :].partition(".")[0]
    return number.isdigit() and len(layers) <= int(number) < n_layers


def check_finite(network, model):
    """Raise for a weight that is NaN or infinite.

    Raises
    ------
    ValueError
    """
    for name, weight in network.named_parameters():
        # A sum takes a fraction of the time of looking at each, and no memory, unless it
        # is asked for in another dtype. That of float16 may be too large for it.
        if weight.is_floating_point() and not torch.isfinite(weight.sum()):
            n_bad = int((~torch.isfinite(weight)).sum())
            if n_bad:
                raise ValueError(
                    f"The weights in {model.place} must be finite numbers. Got "
                    f"{n_bad} that aren't in {name}: the file is damaged, or its "
                    "numbers are too large for this dtype. Copy or download the "
                    "model again, or choose dtype='bfloat16' or 'float32'."
                )
