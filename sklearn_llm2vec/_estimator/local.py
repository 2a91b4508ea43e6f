"""Models that are loaded in this process: a source of vectors.

torch and transformers are imported when a text has to go through the model.
"""

import dataclasses
import functools
import hashlib
import json
import sys
from dataclasses import dataclass

import numpy as np

from sklearn_llm2vec._common.facts import remember
from sklearn_llm2vec._common.imports import loading
from sklearn_llm2vec._common.people import beginning
from sklearn_llm2vec._estimator.resolve import (
    resolve_attention,
    resolve_keep,
    resolve_layer,
    resolve_pooling,
    resolve_space,
    resolve_width,
    useful_poolings,
)
from sklearn_llm2vec._model.adapters import read_adapters
from sklearn_llm2vec._model.dense import Behind
from sklearn_llm2vec._model.devices import resolve_devices
from sklearn_llm2vec._model.folders import ModelFolder, read_model
from sklearn_llm2vec._model.spec import EncoderSpec
from sklearn_llm2vec._model.tokenizer import last_tokenizer
from sklearn_llm2vec._network.pooling import POOLINGS
from sklearn_llm2vec._text.templates import preset_of
from sklearn_llm2vec._text.tokens import TextTokenizer, measure_prompt
from sklearn_llm2vec._text.windows import check_room


@dataclass(eq=False)
class LocalSource:
    """A model's folder with its settings; a `Source`.

    Attributes
    ----------
    model : ModelFolder
    spec : EncoderSpec
    adapters : tuple of AdapterFolder or TrainedAdapter
    devices : tuple of str
        All of them give the same vectors.
    behind : Behind or None
        What the folder declares behind its pooling, where that is asked for.
    refuses_long_texts : bool
    """

    model: ModelFolder
    spec: EncoderSpec
    adapters: tuple
    devices: tuple
    layer: object
    pooling: str
    always_kept: tuple
    kept_in_search: tuple | None
    behind: Behind | None
    width: int
    batch_tokens: object
    refuses_long_texts: bool

    is_lendable = True

    @classmethod
    def open(cls, params, adapters, memo_directory):
        """Find the model's folder and read what it says; see `Source`."""
        model = read_model(
            params.model,
            revision=params.revision,
            trust_remote_code=params.trust_remote_code,
            token_env=params.token_env,
            memo_directory=memo_directory,
        )
        adapters = (
            read_adapters(params.adapters, model.memo_directory, params.token_env)
            + adapters
        )
        devices = resolve_devices(params.device)
        spec = resolve_space(params, model, adapters, devices[0])
        always_kept, kept_in_search = resolve_keep(
            params.keep, model.n_layers, params.in_search
        )
        layer = resolve_layer(params.layer, model.n_layers)
        behind = _behind(params, model, layer)
        n_features = model.hidden_size
        if behind is not None:
            n_features = behind.width(n_features)
        source = cls(
            model=model,
            spec=spec,
            adapters=adapters,
            devices=devices,
            layer=layer,
            pooling=resolve_pooling(params, model, spec.attention),
            always_kept=always_kept,
            kept_in_search=kept_in_search,
            behind=behind,
            width=resolve_width(params.truncate_dim, n_features, model.name),
            batch_tokens=params.batch_tokens,
            refuses_long_texts=params.long_texts == "error",
        )
        _check_prompt(model, spec)
        return source

    @staticmethod
    def search_space(params):
        """Layers and features by the configuration, and the poolings worth a search."""
        model = read_model(
            params.model,
            revision=params.revision,
            trust_remote_code=params.trust_remote_code,
            token_env=params.token_env,
        )
        adapters = read_adapters(
            params.adapters, model.memo_directory, params.token_env
        )
        attention = resolve_attention(params, model, adapters)
        return model.n_layers, useful_poolings(attention), model.hidden_size

    @property
    def name(self):
        """As the user gave it."""
        return self.model.name

    @property
    def n_layers(self):
        """Layers of the model."""
        return self.model.n_layers

    @property
    def hidden_size(self):
        """Features of a hidden state."""
        return self.model.hidden_size

    @property
    def fingerprint(self):
        """The name of the space."""
        return self.spec.fingerprint

    @property
    def device(self):
        """The first of the devices."""
        return self.devices[0]

    @property
    def identity(self):
        """Digests of the model's files."""
        spec = self.spec
        digests = spec.weights, spec.config, spec.tokenizer, spec.adapters
        return *digests, self.model.modules_digest

    @property
    def max_length(self):
        """Tokens of a row."""
        return self.spec.max_length

    @property
    def finish_digest(self):
        """Digest of the dense layers' files and what else is declared."""
        return None if self.behind is None else self.model.modules_digest

    def model_settings(self, depth, device=None):
        """What `load_model` and `loaded_model` take."""
        return {
            "depth": depth,
            "dtype": self.spec.dtype,
            "device": self.device if device is None else device,
            "attention": self.spec.attention,
            "adapters": self.adapters,
        }

    def is_ready(self, depth):
        """Whether this process has the model loaded, deep enough."""
        if "sklearn_llm2vec._model.registry" not in sys.modules:
            return False
        with loading:
            from sklearn_llm2vec._model.registry import loaded_model

        return loaded_model(self.model, **self.model_settings(depth))

    def encoder(self, depth):
        """The model on its devices, loaded where it isn't yet."""
        with loading:
            from sklearn_llm2vec._encode.encoder import Encoder
            from sklearn_llm2vec._model.registry import load_model

        spec = self.spec
        models = [
            load_model(self.model, **self.model_settings(depth, device))
            for device in self.devices
        ]
        return Encoder(
            *models,
            special_tokens=spec.special_tokens,
            batch_tokens=self.batch_tokens,
            counts=spec.counts,
            **_lengths(spec),
            token_prepending=spec.token_prepending,
            causal=spec.attention == "causal",
        )

    def check_texts(self, texts):
        """Refuse long texts where ``long_texts="error"``, whatever the cache holds."""
        if self.refuses_long_texts:
            _refuse_long_texts(self.model, self.spec, texts)

    def finish(self, vectors):
        """Dense layers and unit length as declared, then the first features."""
        if self.behind is not None:
            vectors = self.behind(vectors)
        return np.ascontiguousarray(vectors[:, : self.width])

    def describe(self):
        """The fields of the space, and what they were made of."""
        with loading:
            import torch
            import transformers

        return {
            **dataclasses.asdict(self.spec),
            "model": self.name,
            "adapters": [adapter.name for adapter in self.adapters],
            "adapter_digests": list(self.spec.adapters),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }

    def refusal(self, identity):
        """The error for a folder whose files were others in `fit`."""
        others = "its weights, configuration, tokenizer or adapters"
        if identity[:-1] == self.identity[:-1]:
            others = "its declared pooling, dense layers or prompt"
        return ValueError(
            f"The files of model {self.name!r} must be the same as in 'fit'. They "
            f"differ now: {others} changed. Fit again, or restore the model."
        )


# --- what is declared behind the pooling ---------------------------------------------


def _behind(params, model, layer):
    """What the folder declares behind its pooling, where that is asked for."""
    declared = model.declared
    as_declared = params.pooling == "auto" and preset_of(params.template)[0] is None
    if not as_declared or layer != model.n_layers:
        return None
    if declared.unknown:
        raise ValueError(
            f"With pooling='auto' and the last layer, {model.name!r} is used as its "
            f"folder declares, but {declared.unknown} isn't supported. Set 'pooling' "
            f"to one of {set(POOLINGS)} to use plain hidden states."
        )
    if params.truncate_dim is not None:
        declared = dataclasses.replace(declared, truncate_dim=params.truncate_dim)
    return _load_behind(declared, model.modules_digest)


@functools.lru_cache(maxsize=8)
def _load_behind(declared, digest):
    """What is behind the pooling, read once for each content of its files.

    The weights are small, but a fit a fold would add up.
    """
    return Behind(declared)


# --- lengths -------------------------------------------------------------------------


def _lengths(spec):
    """What decides how much of a text fits into a row."""
    return {
        "max_length": spec.max_length,
        "template": spec.template,
        "chunk_overlap": spec.chunk_overlap if spec.long_texts == "chunk" else None,
    }


def _n_added(spec):
    """Tokens that Token Prepending adds to a row."""
    return 0 if spec.token_prepending is None else 1


def _check_prompt(model, spec):
    """Refuse a prompt that can't be made, or that leaves no room for a text.

    No weights are loaded; what the tokenizer says is remembered.
    """
    about = json.dumps([spec.tokenizer, spec.template, spec.counts])
    measured = remember(
        f"prompt:1:{hashlib.sha256(about.encode()).hexdigest()}",
        lambda: measure_prompt(
            last_tokenizer(model, spec.tokenizer), spec.template, spec.counts
        ),
        model.memo_directory,
    )
    check_room(measured, n_added=_n_added(spec), **_lengths(spec))


def _refuse_long_texts(model, spec, texts):
    """Raise when a text would be cut."""
    tokenizer = TextTokenizer(
        last_tokenizer(model, spec.tokenizer),
        special_tokens=spec.special_tokens,
        counts=spec.counts,
        n_added=_n_added(spec),
        **_lengths(spec),
    )
    n_long, longest, example = 0, 0, 0
    for start in range(0, len(texts), 4096):
        for i, n in enumerate(tokenizer.count(texts[start : start + 4096]), start):
            if n > tokenizer.room:
                n_long += 1
                longest, example = max((longest, example), (n, i))
    if n_long:
        raise ValueError(
            f"With long_texts='error' every text must have at most {tokenizer.room} "
            f"tokens. Got {n_long} longer texts; the longest has {longest} tokens and "
            f"begins with {beginning(texts[example])!r}. Increase max_length, or "
            "choose long_texts='truncate'."
        )
