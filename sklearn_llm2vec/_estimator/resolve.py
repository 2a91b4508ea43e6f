"""What parameters mean for one model: its layers, its pooling, its space.

Values are plain and were checked each by itself; what is refused here is what this model,
or another parameter, doesn't allow.
"""

import os

from sklearn_llm2vec._common.checks import is_integer, refused, warn
from sklearn_llm2vec._estimator.prompts import resolve_prompt
from sklearn_llm2vec._model.devices import resolve_dtype
from sklearn_llm2vec._model.files import read_json
from sklearn_llm2vec._model.places import looks_like_path
from sklearn_llm2vec._model.spec import EncoderSpec
from sklearn_llm2vec._network.pooling import POOLINGS
from sklearn_llm2vec._text.templates import parse_template, preset_of


def resolve_layer(layer, n_layers):
    """The hidden state, counted from 0, that a `layer` parameter means.

    Parameters
    ----------
    layer : int, float or tuple of these
    n_layers : int
        Layers of the model; hidden states go from 0 to `n_layers`.

    Returns
    -------
    int or tuple of int

    Raises
    ------
    ValueError
        When the model has no such layer.

    Examples
    --------
    >>> from sklearn_llm2vec._estimator.resolve import resolve_layer
    >>> resolve_layer(-1, 6), resolve_layer(0.5, 6), resolve_layer((1, -1), 6)
    (6, 3, (1, 6))
    """
    several = isinstance(layer, tuple | list)
    found = tuple(
        _counted_layer(one, n_layers) for one in (layer if several else [layer])
    )
    if None in found:
        expected = (
            f"an int from {-n_layers - 1} to {n_layers} (this model has {n_layers} "
            "layers; 0 stands for the embeddings), a float in [0, 1] or a tuple of "
            "these"
        )
        raise refused("layer", expected, layer)
    return found if several else found[0]


def _counted_layer(layer, n_layers):
    if is_integer(layer):
        inside = -n_layers - 1 <= layer <= n_layers
        return int(layer) % (n_layers + 1) if inside else None
    return round(float(layer) * n_layers) if 0 <= layer <= 1 else None


def resolve_keep(keep, n_layers, in_search="all"):
    """The cells that a `keep` parameter names, besides the one that is asked for.

    Parameters
    ----------
    keep : "auto", "requested", "all" or tuple of (layers, poolings)
    n_layers : int
    in_search : "all" or tuple of (layers, poolings), default="all"
        What "auto" keeps of texts which already have another cell.

    Returns
    -------
    always : tuple of (list of int, list of str)
        The layers and poolings that every pass stores.
    in_search : tuple of (list of int, list of str) or None
        Those that a pass stores for texts which already have another cell.

    Raises
    ------
    ValueError
        When the model has no such layer.
    """
    if keep == "auto":
        return ([], []), _named_cells(in_search, n_layers)
    if keep == "requested":
        return ([], []), None
    return _named_cells(keep, n_layers), None


def _named_cells(keep, n_layers):
    """Layers and poolings of "all", or of a tuple of which a part may be "all"."""
    layers, poolings = ("all", "all") if isinstance(keep, str) else keep
    if isinstance(layers, str):
        layers = range(n_layers + 1)
    if isinstance(poolings, str):
        poolings = POOLINGS
    layers = [_counted_layer(layer, n_layers) for layer in layers]
    if None in layers:
        expected = (
            f"a tuple of layers from {-n_layers - 1} to {n_layers} (this model has "
            f"{n_layers} layers) and poolings"
        )
        raise refused("keep", expected, keep)
    return layers, list(map(str, poolings))


def resolve_space(params, model, adapters, device):
    """The space that the parameters mean.

    Parameters
    ----------
    params : SimpleNamespace
        As `check_parameters` gives it.
    model : ModelFolder
    adapters : tuple of AdapterFolder
    device : str

    Returns
    -------
    EncoderSpec

    Raises
    ------
    ValueError
        For a value that this model, or another parameter, doesn't allow.
    """
    _refuse_changes(params, model)
    attention = resolve_attention(params, model, adapters)
    _warn_of_other_bases(model, adapters)
    _warn_of_code_left_out(params, model)
    template, counts = resolve_prompt(params, model, attention, adapters)
    chunk = params.long_texts == "chunk"
    special = params.special_tokens
    if special == "auto":
        # sentence-transformers counts them in every model's pooling.
        special = not model.decoder or model.declared.pooling is not None
    return EncoderSpec(
        weights=model.weights_digest,
        config=model.config_digest,
        tokenizer=model.tokenizer_digest,
        attention=attention,
        special_tokens=bool(special),
        max_length=_resolve_max_length(params, model),
        # Where no text is cut, "error" gives the vectors of "truncate".
        long_texts="chunk" if chunk else "truncate",
        dtype=_resolve_dtype(params, model, device),
        template=template,
        counts=counts,
        token_prepending=_resolve_prepending(params, model, attention, template),
        adapters=tuple(adapter.digest for adapter in adapters),
        chunk_overlap=params.chunk_overlap if chunk else 0,
    )


def resolve_pooling(params, model, attention):
    """The pooling that the parameters mean."""
    if params.pooling != "auto":
        return params.pooling
    preset, _ = preset_of(params.template)
    if preset is not None:
        return preset.pooling
    causal = attention == "causal"
    return model.declared.pooling or ("weighted_mean" if causal else "mean")


def useful_poolings(attention):
    """The poolings that a search compares.

    With causal attention the first token sees no other, so its state says nothing of the
    text, or very little.
    """
    return [one for one in POOLINGS if one != "first" or attention != "causal"]


def resolve_width(truncate_dim, n_features, name):
    """How many features are kept of a model's.

    Raises
    ------
    ValueError
        When it has fewer.
    """
    if truncate_dim is None:
        return n_features
    if truncate_dim > n_features:
        expected = f"at most {n_features}, the features of {name!r}"
        raise refused("truncate_dim", expected, truncate_dim)
    return truncate_dim


def _resolve_dtype(params, model, device):
    """The dtype of the weights."""
    if params.dtype == "auto" and model.static is not None:
        return "float32"  # vectors that are looked up take no less time rounded
    return resolve_dtype(params.dtype, device)


def _resolve_prepending(params, model, attention, template):
    """Start and exit of Token Prepending, or None."""
    wanted = params.token_prepending
    if wanted is None:
        return None
    if attention != "causal":
        where = (
            "bidirectional attention"
            if model.causal
            else f"{model.name!r}, an encoder or a bidirectional decoder"
        )
        expected = f"None with {where}, where the text's tokens see the last one anyway"
        raise refused("token_prepending", expected, wanted)
    if template is None or (
        template != "chat" and not _is_prompt(parse_template(template))
    ):
        expected = (
            "None without a 'template' that has words before one '{text}', such as "
            "'prompt_eol'"
        )
        raise refused("token_prepending", expected, wanted)
    start, exit = wanted if isinstance(wanted, tuple | list) else (1, wanted)
    if not 0 <= start < exit <= model.n_layers:
        expected = (
            f"a layer from 2 to {model.n_layers}, the layers of {model.name!r}, or a "
            "tuple of two in ascending order from 0"
        )
        raise refused("token_prepending", expected, wanted)
    return start, exit


def _refuse_changes(params, model):
    """Refuse to change the layers of a static model, which has none."""
    for name in ("adapters", "adapt"):
        value = getattr(params, name)
        if model.static is not None and value is not None:
            expected = f"None for {model.name!r}, a static model, which has no layers"
            raise refused(name, expected, value)


def _is_prompt(template):
    """Whether there is one text, and something before it."""
    return len(template.fields) == 1 and bool(template.literals[0])


def resolve_attention(params, model, adapters):
    """The attention that the parameters mean: never "auto"."""
    if params.attention == "causal" and not model.causal:
        why = "which has bidirectional attention by design"
        raise refused("attention", f"'auto' for {model.name!r}, {why}", "causal")
    if params.attention == "auto":
        switched = params.adapt is not None or any(
            adapter.bidirectional for adapter in adapters
        )
        return "causal" if model.causal and not switched else "bidirectional"
    return params.attention


def _resolve_max_length(params, model):
    """Most tokens of a row."""
    if params.max_length is None:
        return model.max_tokens
    if model.max_positions and params.max_length > model.max_positions:
        expected = (
            f"at most {model.max_positions} for {model.name!r}, the number of "
            "positions that the model has"
        )
        raise refused("max_length", expected, params.max_length)
    return params.max_length


def _warn_of_other_bases(model, adapters):
    """Warn of adapters that say they were trained on another model.

    Shapes are compared when they are merged; a model of the same shapes isn't seen
    there. The place of a local folder says nothing.
    """
    accepted = [model.name, *(adapter.name for adapter in adapters)]
    for adapter in adapters:
        base = getattr(adapter, "base", None)
        names = (base, model.name)
        if base is None or any(
            os.path.isdir(name) or looks_like_path(name) for name in names
        ):
            continue
        if not any(_is_same_name(base, name) for name in accepted):
            warn(
                f"The adapter {adapter.name!r} says that it was trained on {base!r}, "
                f"but it is merged into {model.name!r}. Set 'model' to that base, "
                "unless the two are the same."
            )


def _warn_of_code_left_out(params, model):
    """Warn of a network that has code of its own in the folder, which isn't run.

    transformers silently takes the network of the model's family in its place. For
    some models that is a causal one, where the folder's own is bidirectional.
    """
    if not model.causal or params.trust_remote_code or params.attention != "auto":
        return
    named = read_json(model.folder / "config.json").get("auto_map") or {}
    if "AutoModel" not in named:
        return
    warn(
        f"The folder of {model.name!r} contains its own code for the network "
        f"({named['AutoModel']}), which isn't run. The network in transformers for "
        "this family is used instead, and its hidden states may differ. Pass "
        "attention='bidirectional' if the model is a bidirectional decoder, as "
        "gte-Qwen2 is, attention='causal' if it is a causal one, or "
        "trust_remote_code=True to run the code."
    )


def _is_same_name(one, other):
    """Whether two hub ids may name one model; old ones lack their owner."""
    one, other = one.lower().split("/"), other.lower().split("/")
    n = min(len(one), len(other))
    return one[-n:] == other[-n:]
