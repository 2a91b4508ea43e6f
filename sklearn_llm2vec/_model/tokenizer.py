"""The fast tokenizer of a model folder."""

import functools

from sklearn_llm2vec._common.imports import quiet


def load_tokenizer(model):
    """The fast tokenizer of a model folder."""
    with quiet():
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(
            model.folder, use_fast=True, trust_remote_code=model.trust_remote_code
        )
    # A tokenizer.json may bring a truncation and a padding of its own (MiniLM's cuts at
    # 128 tokens): lengths are this library's business.
    if tokenizer.is_fast:
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
        if model.declared.lowercase:
            _put_into_lowercase(tokenizer.backend_tokenizer)
    return tokenizer


def _put_into_lowercase(backend):
    from tokenizers import normalizers

    others = [] if backend.normalizer is None else [backend.normalizer]
    backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *others])


@functools.lru_cache(maxsize=1)
def last_tokenizer(model, digest):
    """The tokenizer that was asked for last, for questions that need no weights.

    Parameters
    ----------
    model : ModelFolder
    digest : str
        Says which content of its files it is.
    """
    return load_tokenizer(model)
