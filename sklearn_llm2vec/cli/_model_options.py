"""The options that say how texts become vectors, shared by all commands with a model.

Each is a parameter of ``LLMEmbeddingTransformer`` under its own name; one that isn't
given isn't passed on, so defaults are written down in one place. The transformer is
imported when one is made.
"""

import argparse
import os
from pathlib import Path

from sklearn_llm2vec._common.names import ATTENTIONS, DTYPES, LONG_TEXTS, MISSING
from sklearn_llm2vec._common.words import (
    bytes_from,
    count_from,
    layer_from,
    one_or_more_from,
)
from sklearn_llm2vec._network.pooling import POOLINGS

# Parameters of the transformer whose options have their names and give their values.
PLAIN = (
    "model layer pooling special_tokens attention template prompt_counts "
    "token_prepending adapters truncate_dim normalize missing max_length long_texts "
    "chunk_overlap device dtype batch_tokens revision trust_remote_code token_env "
    "endpoint api_key_env"
).split()


def add_model_options(parser, *, searched=False, served=True):
    """Add the options.

    Parameters
    ----------
    parser : ArgumentParser
    searched : bool, default=False
        Whether layer and pooling are for the command to choose; it needs a cache then.
    served : bool, default=True
        Whether a server may have the model.
    """
    group = parser.add_argument_group(
        "model",
        "parameters of LLMEmbeddingTransformer with the same defaults; the API\n"
        "reference describes them",
        argument_default=argparse.SUPPRESS,
    )
    add = group.add_argument
    add(
        "--model",
        metavar="NAME",
        help="hub id, folder or GGUF file (default: all-MiniLM-L6-v2)",
    )
    if not searched:
        add(
            "--layer",
            type=layer_from,
            metavar="K",
            help="hidden state: 0 for the embeddings, -1 for the last, 0.5 for the "
            "middle, 3,6 for the mean of two (default: -1); write --layer=-1,-2 if it "
            "begins with a minus",
        )
        add(
            "--pooling",
            choices=("auto", *POOLINGS),
            help="how tokens become one vector (default: auto)",
        )
    add(
        "--template",
        metavar="TEXT",
        help='"... {text}", column names, "row", a preset, or a prompt that the model '
        "names",
    )
    add("--prompt-counts", type=_auto_or_flag, metavar="auto|yes|no")
    add("--attention", choices=("auto", *ATTENTIONS))
    add("--special-tokens", type=_auto_or_flag, metavar="auto|yes|no")
    add(
        "--token-prepending",
        type=_depth,
        metavar="K",
        help="layer, or first layer and the one after the last",
    )
    add(
        "--adapters",
        action="append",
        metavar="NAME",
        help="PEFT adapter to merge; may be repeated",
    )
    add(
        "--max-length",
        type=count_from,
        metavar="N",
        help="largest number of tokens in a text",
    )
    add("--long-texts", choices=LONG_TEXTS)
    add(
        "--chunk-overlap",
        type=int,
        metavar="N",
        help="number of tokens that windows share, with chunk",
    )
    add("--missing", choices=MISSING)
    add(
        "--truncate-dim",
        type=count_from,
        metavar="N",
        help="keep only the first features",
    )
    add("--normalize", action="store_true", help="scale vectors to unit length")
    add("--device", type=_devices, metavar="NAME", help="cpu, cuda, cuda:0,cuda:1 ...")
    add("--dtype", choices=("auto", *DTYPES))
    add(
        "--batch-tokens",
        type=one_or_more_from,
        metavar="N",
        help="largest number of tokens in a batch",
    )
    add(
        "--revision",
        metavar="NAME",
        help="branch, tag or commit of the model on the hub",
    )
    add(
        "--trust-remote-code",
        action="store_true",
        help="allow code that comes with the model to run",
    )
    add(
        "--token-env",
        metavar="NAME",
        help="environment variable with a token of the hub (default: HF_TOKEN)",
    )
    if served:
        add(
            "--endpoint",
            metavar="URL",
            help="URL of an OpenAI-compatible server",
        )
        add(
            "--api-key-env",
            metavar="NAME",
            help="environment variable that contains its key",
        )
    _add_cache_options(parser, needed=searched)


def _add_cache_options(parser, *, needed):
    """Add what says which cache is used; "none" can't be chosen where it is needed."""
    parser.set_defaults(no_cache=False)
    group = parser.add_argument_group("cache")
    either = group.add_mutually_exclusive_group()
    either.add_argument(
        "--cache",
        metavar="FOLDER",
        help="the cache (default: $SKLEARN_LLM2VEC_CACHE, or the platform's folder for "
        "caches)",
    )
    if not needed:
        either.add_argument(
            "--no-cache",
            action="store_true",
            help="store nothing; a stopped run can't be resumed",
        )
    group.add_argument(
        "--cache-limit",
        type=bytes_from,
        metavar="SIZE",
        help="size beyond which the least recently used vectors are removed "
        "(default: 20GB)",
    )


def transformer_parameters(args):
    """The parameters of the transformer that were given, by name.

    Folders become absolute: a model that is saved is loaded elsewhere.
    """
    given = {name: getattr(args, name) for name in PLAIN if hasattr(args, name)}
    if "model" in given:
        given["model"] = _absolute_folder(given["model"])
    if "adapters" in given:
        given["adapters"] = [_absolute_folder(name) for name in given["adapters"]]
    return {**given, "cache": _cache_parameter(args)}


def make_transformer(args, **more):
    """The transformer that the options mean."""
    from sklearn_llm2vec._estimator.transformer import LLMEmbeddingTransformer

    more.setdefault("verbose", False if args.quiet else "auto")
    return LLMEmbeddingTransformer(**transformer_parameters(args), **more)


def open_named_cache(args):
    """The ``EmbeddingCache`` that the options mean; None for none."""
    from sklearn_llm2vec._cache.store import EmbeddingCache

    if getattr(args, "no_cache", False):
        return None
    limit = getattr(args, "cache_limit", None)
    settings = {} if limit is None else {"size_limit": limit}
    return EmbeddingCache(args.cache, **settings)


def _cache_parameter(args):
    if args.no_cache:
        return False
    if args.cache_limit is not None:
        return open_named_cache(args)
    return True if args.cache is None else str(Path(args.cache).expanduser().absolute())


def _absolute_folder(name):
    path = Path(name).expanduser()
    return str(path.absolute()) if os.path.isdir(path) else name


# --- words -> values -----------------------------------------------------------------


def _auto_or_flag(words):
    values = {"auto": "auto", "yes": True, "no": False}
    if words not in values:
        raise argparse.ArgumentTypeError(f"expected auto, yes or no; got {words!r}")
    return values[words]


def _depth(words):
    try:
        layers = tuple(int(part) for part in words.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            "expected a layer such as 8, or the first layer and the one after the "
            f"last, such as 2,8; got {words!r}"
        ) from None
    return layers if len(layers) > 1 else layers[0]


def _devices(words):
    names = tuple(part.strip() for part in words.split(","))
    return names if len(names) > 1 else names[0]
