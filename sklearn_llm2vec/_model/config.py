"""What a model's configuration files say: sizes, kind of attention, limits."""

import copy

from sklearn_llm2vec._common.imports import loading, quiet
from sklearn_llm2vec._model.damage import SENTENCES, blamed_on
from sklearn_llm2vec._model.declared import transformer_settings
from sklearn_llm2vec._model.files import read_json


def facts_of_config(folder, trust_remote_code):
    """What ``config.json`` says once transformers has read it, as JSON can hold it."""
    config = auto_config(folder, trust_remote_code)
    with blamed_on(folder, "be those of a text encoder or decoder", SENTENCES):
        facts = _facts_of(config)
    for name in ("n_layers", "hidden_size"):
        if facts[name] < 1:
            raise ValueError(
                f"The config.json in {folder} must describe a network with layers and "
                f"hidden states. Got {name}={facts[name]}: copy or download it again."
            )
    return facts


def _facts_of(config):
    text = text_config(config)
    tied = getattr(config, "tie_word_embeddings", None)
    if tied is None:
        tied = getattr(text, "tie_word_embeddings", False)
    return {
        "n_layers": int(text.num_hidden_layers),
        "hidden_size": int(text.hidden_size),
        "causal": _is_causal(config),
        "decoder": _is_decoder(config),
        "is_encoder_decoder": bool(getattr(config, "is_encoder_decoder", False)),
        "max_positions": _max_positions(config),
        "tied": bool(tied),
    }


def auto_config(folder, trust_remote_code):
    """The configuration of a model's folder as an object of transformers."""
    what = "have a config.json that the installed transformers can read"
    with loading:
        from transformers import AutoConfig

        with blamed_on(folder, what):
            return AutoConfig.from_pretrained(
                folder, trust_remote_code=trust_remote_code
            )


def text_config(config):
    """The part of a configuration that describes the text encoder or decoder."""
    if not getattr(config, "is_encoder_decoder", False):
        return config.get_text_config()
    text = config.get_text_config(encoder=True)
    # T5Gemma has whole configurations for both of its sides.
    return text if hasattr(text, "num_hidden_layers") else config.encoder


def _max_positions(config):
    """Positions that a text's tokens can have; None where there is no limit."""
    text = text_config(config)
    said = getattr(text, "max_position_embeddings", None)
    if not isinstance(said, int) or said <= 0:  # XLNet says -1
        return None
    # RoBERTa and its kin number positions from the padding token's id on.
    first = _padding_of_positions(config)
    return said if first is None else said - first - 1


def _padding_of_positions(config):
    """The padding index of a table of positions, where the network has such a table."""
    small = copy.deepcopy(text_config(config))
    try:
        small.num_hidden_layers = 1
        with quiet():
            import torch
            from transformers import AutoModel

            with torch.device("meta"):
                network = AutoModel.from_config(small)
    except Exception:
        # A model with code of its own, or one that can't have a single layer: then what
        # the configuration says is taken. The errors have no class in common; the check
        # of a configuration raises one that is an Exception and nothing else.
        return None
    for name, module in network.named_modules():
        if name.endswith("position_embeddings") and isinstance(
            module, torch.nn.Embedding
        ):
            return module.padding_idx
    return None


def _is_causal(config):
    """Whether a model of this configuration lets a token see only those before it."""
    text = text_config(config)
    if getattr(config, "is_encoder_decoder", False):
        return False
    # Gemma 3 says True or False; Gemma 4 "all", or "vision" where only images see all.
    if getattr(text, "use_bidirectional_attention", None) in (True, "all"):
        return False
    if getattr(text, "is_causal", None) is not None:
        return bool(text.is_causal)
    return _is_decoder(config)


def _is_decoder(config):
    """Whether a model of this configuration was made to write text from left to right."""
    with loading:
        from transformers.models.auto import modeling_auto

    if getattr(config, "is_encoder_decoder", False):
        return False
    if getattr(text_config(config), "is_decoder", False):
        return True
    if getattr(config, "attn_type", None) == "bi":
        return False  # XLNet, which reads texts as an encoder does
    # BERT-like families can also be set up as decoders, so a masked LM decides first.
    kind = config.model_type
    if kind in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return False
    architectures = " ".join(getattr(config, "architectures", None) or ())
    return (
        kind in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        or "CausalLM" in architectures
        or "LMHead" in architectures
    )


def max_tokens(folder, max_positions):
    """The limit of tokens that a folder's files name, at most 512.

    A length that sentence-transformers saved wins over the tokenizer's, as it does there.
    """
    settings = transformer_settings(folder)
    tokenizer = read_json(folder / "tokenizer_config.json")
    said = settings.get("max_seq_length") or tokenizer.get("model_max_length")
    limits = [512, max_positions, said]
    return int(min(n for n in limits if isinstance(n, int | float) and n >= 1))


def has_chat_template(folder):
    """Whether a folder has a chat template, in a file of its own or not."""
    return (folder / "chat_template.jinja").is_file() or bool(
        read_json(folder / "tokenizer_config.json").get("chat_template")
    )
