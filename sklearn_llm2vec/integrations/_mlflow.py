"""The packages that a model logged with mlflow needs and that mlflow doesn't find itself.

mlflow lists the packages that are imported while a model is loaded. torch and
transformers are imported later, and a package that only contains weights never is.
"""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sklearn_llm2vec import __version__
from sklearn_llm2vec._common.public import public_in
from sklearn_llm2vec._model.gguf_file import SUFFIX
from sklearn_llm2vec._model.places import PACKAGES
from sklearn_llm2vec._search.grid import find_transformers


@public_in("sklearn_llm2vec.integrations")
def mlflow_requirements(estimator):
    """List the packages that an estimator needs, for ``mlflow.sklearn.log_model``.

    Parameters
    ----------
    estimator : estimator
        An `LLMEmbeddingTransformer`, or a pipeline or search that contains one or more.

    Returns
    -------
    list of str
        This library with the extras that the parameters need, and the installed versions
        of torch, transformers and, if a model comes from pip, its package. Pass the list
        as ``extra_pip_requirements``; mlflow adds the packages that it finds itself.

    Raises
    ------
    TypeError
        If it isn't an estimator.
    ValueError
        If it contains no `LLMEmbeddingTransformer`.

    Examples
    --------
    >>> import mlflow                                                # doctest: +SKIP
    >>> from sklearn_llm2vec.integrations import mlflow_requirements # doctest: +SKIP
    >>> mlflow.sklearn.log_model(                                    # doctest: +SKIP
    ...     pipe,
    ...     name="reviews",
    ...     extra_pip_requirements=mlflow_requirements(pipe),
    ...     skops_trusted_types=["sklearn_llm2vec.LLMEmbeddingTransformer"],
    ... )
    """
    if isinstance(estimator, type) or not hasattr(estimator, "get_params"):
        raise TypeError(
            "The 'estimator' parameter of mlflow_requirements must be an estimator of "
            f"scikit-learn. Got {estimator!r} instead."
        )
    ours = list(find_transformers(estimator).values())
    if not ours:
        raise ValueError(
            "mlflow_requirements expects an estimator that contains an "
            f"LLMEmbeddingTransformer. Got {estimator!r}."
        )
    extras = ",".join(sorted(set().union(*map(_extras, ours))))
    this = "sklearn-llm2vec" + (f"[{extras}]" if extras else "")
    packages = ["torch", "transformers"]
    for model in dict.fromkeys(str(one.model) for one in ours if one.endpoint is None):
        if model in PACKAGES:
            packages.append(PACKAGES[model].pip)
    return [f"{this}=={__version__}", *filter(None, map(_pinned, packages))]


def _extras(transformer):
    """The extras whose packages the parameters need."""
    asked = {
        "endpoint": transformer.endpoint is not None,
        "adapt": transformer.adapters is not None or transformer.adapt is not None,
        "gguf": transformer.endpoint is None and _is_gguf(str(transformer.model)),
    }
    return {extra for extra, is_asked in asked.items() if is_asked}


def _is_gguf(model):
    if model in PACKAGES:
        return PACKAGES[model].weights.endswith(SUFFIX)
    return model.lower().endswith(SUFFIX) or any(Path(model).glob(f"*{SUFFIX}"))


def _pinned(package):
    """The installed version as a line for pip; None where there is none.

    Without the label of a build such as "+cpu", which PyPI doesn't have.
    """
    try:
        return f"{package}=={version(package).partition('+')[0]}"
    except PackageNotFoundError:
        return None
