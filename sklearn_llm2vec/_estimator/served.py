"""Models behind an endpoint: a source of vectors that another program computes."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from sklearn_llm2vec._common.checks import refused
from sklearn_llm2vec._encode.endpoint import (
    CELL,
    EndpointEncoder,
    ServedModel,
    ServedSpec,
    read_served_model,
)
from sklearn_llm2vec._estimator.resolve import resolve_width
from sklearn_llm2vec._text.templates import parse_template, preset_of

# What can't be chosen with an endpoint, and the defaults that it is left at.
DECIDED_BY_A_SERVER = {
    "layer": -1,
    "pooling": "auto",
    "special_tokens": "auto",
    "prompt_counts": "auto",
    "attention": "auto",
    "token_prepending": None,
    "adapters": None,
    "adapt": None,
    "max_length": None,
    "long_texts": "truncate",
    "chunk_overlap": 0,
    "keep": "auto",
    "device": None,
    "dtype": "auto",
    "trust_remote_code": False,
}


@dataclass(eq=False)
class ServedSource:
    """A model behind an endpoint; a `Source`."""

    model: ServedModel
    spec: ServedSpec
    width: int
    batch_tokens: object

    # A server has one cell, and doesn't say which.
    n_layers = max_length = None
    layer, pooling = CELL
    always_kept = ([], [])
    kept_in_search = None
    device = "endpoint"
    is_lendable = False
    finish_digest = None

    @classmethod
    def open(cls, params, adapters, memo_directory):
        """Ask the server for its model, once ever; see `Source`."""
        _check_parameters(params)
        model = read_served_model(
            params.model,
            params.endpoint,
            revision=params.revision,
            api_key_env=params.api_key_env,
            memo_directory=memo_directory,
        )
        plain = params.template in (None, "row", "{text}")
        template = None if plain else params.template
        return cls(
            model=model,
            spec=ServedSpec(model.endpoint, model.name, model.revision, template),
            width=resolve_width(params.truncate_dim, model.hidden_size, model.name),
            batch_tokens=params.batch_tokens,
        )

    @staticmethod
    def search_space(params):
        """Nothing to search: a server tells neither layers nor poolings."""
        return None, [], None

    @property
    def name(self):
        """As the server calls it."""
        return self.model.name

    @property
    def hidden_size(self):
        """Features of the server's vectors."""
        return self.model.hidden_size

    @property
    def fingerprint(self):
        """The name of the space."""
        return self.spec.fingerprint

    @property
    def identity(self):
        """What is known of the model that has the name."""
        model = self.model
        return model.endpoint, model.name, model.revision, model.hidden_size

    def is_ready(self, depth):
        """Nothing is ever loaded here."""
        return True

    def encoder(self, depth):
        """A client of the server."""
        return EndpointEncoder(
            self.model, template=self.spec.template, batch_tokens=self.batch_tokens
        )

    def check_texts(self, texts):
        """Any text will do: what is too long, the server cuts or refuses."""

    def finish(self, vectors):
        """The first features."""
        return np.ascontiguousarray(vectors[:, : self.width])

    def describe(self):
        """All that is known of the space."""
        return dataclasses.asdict(self.spec)

    def refusal(self, identity):
        """The error for a server that has another model now."""
        return ValueError(
            f"The model {self.name!r} at {self.model.endpoint} must be the same as in "
            "'fit'. Its endpoint, name, revision or dimension has changed. Fit "
            "again, or restore the model."
        )


def _check_parameters(params):
    """Refuse what a server decides by itself."""
    if not isinstance(params.model, str):
        expected = "the model's name on the server, as a str, with 'endpoint'"
        raise refused("model", expected, params.model)
    if params.template == "chat" or preset_of(params.template)[0] is not None:
        raise ValueError(
            "With 'endpoint', the 'template' parameter of LLMEmbeddingTransformer "
            "must be None, 'row' or a string with '{text}' or column names in it, "
            "because presets need a pooling that the server may not have, and a chat "
            f"template is part of the model. Got {params.template!r} instead. Write "
            "out the prompt, or load the model locally."
        )
    if params.template not in (None, "row"):
        parse_template(params.template)  # a server declares no prompts by name
    for name, default in DECIDED_BY_A_SERVER.items():
        value = getattr(params, name)
        if value != default:
            raise refused(
                name,
                f"{default!r} with 'endpoint', where the server decides",
                value,
                "Leave it out, or leave out 'endpoint' to load the model locally.",
            )
