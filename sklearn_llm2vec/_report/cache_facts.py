"""What the cache of a search holds of it."""

import warnings

from sklearn_llm2vec._estimator.source import open_cache, open_source
from sklearn_llm2vec._report.candidates import short_params, transformer_of

MOST_SPACES = 12
# What a space in the cache doesn't depend on.
OUTSIDE_SPACE = (
    *("layer", "pooling", "keep"),
    *("truncate_dim", "n_components", "normalize", "missing"),
)


def read_cache(search, start, notes):
    """The spaces in the cache that the search used; None without a cache."""
    cache, names = None, {}
    for params in _distinct_spaces(search.cv_results_["params"], start):
        transformer = transformer_of(search, params, start)
        if transformer.adapt is not None:
            notes.append(
                "Adapted models have vectors for each fold in the cache, which aren't "
                "listed here."
            )
            continue
        own = open_cache(transformer.cache)
        if own is None:
            continue
        if transformer.endpoint is not None:
            # Its spaces have names that the server would have to be asked for.
            cache = own
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                # Its layer may be one that the model doesn't have; any has this one.
                source = open_source(transformer.set_params(layer=0, pooling="mean"))
        except (ValueError, OSError, ImportError):
            continue  # a candidate whose fit failed, or a model that isn't here
        cache = own
        settings = {
            k.removeprefix(start): v
            for k, v in params.items()
            if k.startswith(start) and k.removeprefix(start) not in OUTSIDE_SPACE
        }
        settings = {"model": str(transformer.model), **settings}
        names[source.fingerprint] = ", ".join(
            [settings.pop("model"), *short_params(settings)]
        )
    if cache is None:
        return None
    spaces = [
        {**space, "name": names[space["fingerprint"]]}
        for space in cache.info()["spaces"]
        if space["fingerprint"] in names
    ]
    return {"spaces": spaces}


def _distinct_spaces(candidates, start):
    """Candidates that differ in what a space depends on, the first ones."""
    found = {}
    for params in candidates:
        about = [
            (name, repr(value))
            for name, value in sorted(params.items())
            if name.startswith(start) and name.removeprefix(start) not in OUTSIDE_SPACE
        ]
        found.setdefault(tuple(about), params)
    return list(found.values())[:MOST_SPACES]
