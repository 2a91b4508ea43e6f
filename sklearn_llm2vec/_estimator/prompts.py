"""The prompt that parameters mean for one model, and which of its tokens count."""

import os

from sklearn_llm2vec._common.checks import refused, warn
from sklearn_llm2vec._model.files import read_json
from sklearn_llm2vec._model.places import looks_like_path
from sklearn_llm2vec._text.llm2vec import llm2vec_template
from sklearn_llm2vec._text.templates import (
    PRESETS,
    escaped,
    is_name,
    no_template,
    parse_template,
    preset_of,
)


def resolve_prompt(params, model, attention, adapters):
    """The prompt around each text.

    Parameters
    ----------
    params : SimpleNamespace
        As `check_parameters` gives it.
    model : ModelFolder
    attention : {"causal", "bidirectional"}
    adapters : tuple of AdapterFolder or TrainedAdapter

    Returns
    -------
    template : str or None
        As `EncoderSpec` has it.
    counts : {"text", "prompt", "rest", "alone"}
        Which of its tokens count in mean-like poolings; see `TextTokenizer`.

    Raises
    ------
    ValueError
        For a prompt that this model doesn't have, or isn't made for.
    """
    template = _resolve_template(params, model, attention, adapters)
    return template, _resolve_counts(params, model, template)


def _resolve_template(params, model, attention, adapters):
    asked, declared = params.template, model.declared
    preset, instruction = preset_of(asked)
    _refuse_two_meanings(asked, model)
    if asked is None or asked == "row":
        return _before_text(declared.prompt)
    if asked == "chat":
        if not model.chats:
            raise ValueError(
                "The 'template' parameter of LLMEmbeddingTransformer can be 'chat' "
                f"only for a model that has a chat template, and {model.name!r} has "
                "none. Write the prompt as a string with '{text}' in it."
            )
        return "chat"
    if preset is not None:
        _check_preset(asked, preset, model, attention)
        if preset.counts == "alone":
            return llm2vec_template(instruction, _base_names(model, adapters))
        return preset.prompt
    if is_name(asked):
        return _named_prompt(asked, model)
    return asked


def _before_text(prompt):
    """The template of words that stand before a text; None for no words."""
    return escaped(prompt) + "{text}" if prompt else None


def _named_prompt(name, model):
    """The prompt that the folder declares under a name."""
    prompts = dict(model.declared.prompts)
    if name not in prompts:
        declares = ", ".join(map(repr, prompts)) or "none"
        raise no_template(
            name,
            f"no field, and isn't among the prompts that {model.name!r} declares by "
            f"name ({declares})",
        )
    return _before_text(prompts[name])


def _refuse_two_meanings(asked, model):
    ours = asked in ("row", "chat", *PRESETS)
    if ours and asked in dict(model.declared.prompts):
        raise ValueError(
            "The 'template' parameter of LLMEmbeddingTransformer is ambiguous with "
            f"{asked!r}: {model.name!r} declares a prompt of this name, but this "
            "library gives the name another meaning. Write the prompt as a string "
            "with '{text}' in it."
        )


def _base_names(model, adapters):
    """Names on the hub by which the base model may be known, with a warning for none.

    A copy in a folder of any name has it in ``config.json``, or an adapter of it has.
    """
    said = read_json(model.folder / "config.json").get("_name_or_path")
    bases = [getattr(adapter, "base", None) for adapter in adapters]
    names = [
        name
        for name in (model.name, said, *bases)
        if name and not looks_like_path(name) and not os.path.isdir(name)
    ]
    if not names and model.chats:
        warn(
            "template='llm2vec' doesn't wrap the texts in a chat prompt, because "
            f"neither the files of {model.name!r} nor its adapters name the model on "
            "the hub, by which LLM2Vec's code chooses that prompt."
        )
    return names


def _check_preset(name, preset, model, attention):
    """Refuse a preset for an encoder, and warn where the attention is another."""
    why = preset.needs_causal
    if preset.counts == "alone" and not model.decoder:
        raise refused(
            "template",
            f"None or a prompt of your own for the encoder {model.name!r}",
            name,
            "LLM2Vec's prompt is made for decoders.",
        )
    if why is None:
        return
    if not model.causal:
        raise ValueError(
            "The 'template' parameter of LLMEmbeddingTransformer must be None or a "
            f"prompt of your own for the encoder {model.name!r}. Got "
            f"{name!r} instead, which is made for causal decoders."
        )
    if attention != "causal":
        warn(
            f"template={name!r} is made for causal attention; with bidirectional "
            f"attention {why}. Set attention='causal', or use another template."
        )


def _resolve_counts(params, model, template):
    if template is None:
        return "text"
    preset, _ = preset_of(params.template)
    if preset is not None and preset.counts != "text":
        return "prompt" if params.prompt_counts is True else preset.counts
    words, one_text = ("chat",), True
    if template != "chat":
        parsed = parse_template(template)
        words, one_text = parsed.literals, len(parsed.fields) == 1
    if one_text and not any(words):
        return "text"  # the bare text, which is all that there is
    declared = model.declared
    # What a preset is pooled over belongs to it, as its pooling does.
    as_declared = declared.pooling is not None and preset is None
    all_count = params.prompt_counts
    if all_count == "auto":
        all_count = as_declared and declared.includes_prompt
    if all_count:
        return "prompt"
    if not as_declared:
        return "text"
    if not words[0]:
        return "prompt"  # no words in front that could be left out
    if params.pooling == "auto" and declared.pooling == "weighted_mean":
        # There a token's weight is its place in the whole row, prompt included.
        raise refused(
            "prompt_counts",
            f"True for {model.name!r}, whose weighted mean without the prompt isn't "
            "supported",
            params.prompt_counts,
            "Or choose a 'pooling' other than 'auto'.",
        )
    return "rest"
