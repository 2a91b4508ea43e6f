"""What `transform` asks of an estimator: that `fit` learned what it needs, from the same.

Other files of the package, too, ask a `LLMEmbeddingTransformer` by these functions.
"""

from sklearn.exceptions import NotFittedError

from sklearn_llm2vec._adapt.recipe import resolve_recipe
from sklearn_llm2vec._common.checks import warn
from sklearn_llm2vec._estimator.parameters import is_chosen, plain_parameters


def check_fitted(estimator):
    """Raise NotFittedError where a parameter learns in `fit`, and `fit` wasn't called."""
    unfitted = None
    params = plain_parameters(estimator)
    if is_chosen(params) and not hasattr(estimator, "_cells"):
        unfitted = "layer" if params.layer == "cv" else "pooling"
    if estimator.n_components is not None and not hasattr(estimator, "pca_"):
        unfitted = "n_components"
    recipe = resolve_recipe(estimator.adapt)
    if recipe is not None and (
        not hasattr(estimator, "adapter_")
        or estimator._adapted_by != recipe.get_params()
    ):
        unfitted = "adapt"
    if unfitted:
        raise NotFittedError(
            f"This {type(estimator).__name__} instance is not fitted yet. With "
            f"{unfitted!r} call 'fit' with appropriate arguments first."
        )


# --- the same model ------------------------------------------------------------------


def fitted_model(params, source):
    """What `fit` keeps of its model: how the parameters name it, and its identity."""
    return _names_of_model(params), source.identity


def check_same_model(estimator, params, source):
    """Refuse a model whose files changed since `fit`: a classifier learned from them.

    Other parameters, and another model given by ``set_params``, take effect; but where
    `fit` learned something itself, it was from the model of that time.
    """
    if not hasattr(estimator, "_fitted_model"):
        return
    names, identity = estimator._fitted_model
    learned = (
        params.n_components is not None or params.adapt is not None or is_chosen(params)
    )
    same_name = names == _names_of_model(params)
    if identity != source.identity and (same_name or learned):
        raise source.refusal(identity)


def _names_of_model(params):
    adapters = params.adapters or ()
    several = adapters if isinstance(adapters, tuple | list) else (adapters,)
    return (
        str(params.model),
        params.revision,
        tuple(map(str, several)),
        params.adapt is not None,
        params.endpoint,
    )


# --- the same columns ----------------------------------------------------------------


def check_columns(estimator, columns):
    """Raise, or warn as scikit-learn does, for other columns than `fit` saw.

    Parameters
    ----------
    estimator : LLMEmbeddingTransformer
        Where it isn't fitted, any columns will do.
    columns : TextColumns
    """
    if not hasattr(estimator, "n_features_in_"):
        return
    name = type(estimator).__name__
    fitted = list(getattr(estimator, "feature_names_in_", ()))
    if fitted and columns.named and fitted != list(columns.names):
        raise ValueError(_other_columns(fitted, columns.names))
    if len(columns.names) != estimator.n_features_in_:
        raise ValueError(
            f"X has {len(columns.names)} features, but {name} is expecting "
            f"{estimator.n_features_in_} features as input."
        )
    n_blocks = columns.inverse.shape[1]
    if estimator.n_components is not None and len(estimator.pca_) != n_blocks:
        raise ValueError(
            f"With template={estimator.template!r} a row has {n_blocks} vectors, but "
            f"'fit' learned a PCA for {len(estimator.pca_)}. Call 'fit' again."
        )
    # A Series has no feature names for scikit-learn; here its own name may be the one.
    if columns.names == estimator._column_names:
        return
    if fitted and not columns.named:
        warn(
            f"X does not have valid feature names, but {name} was fitted with feature "
            "names"
        )
    elif columns.named and not fitted:
        warn(f"X has feature names, but {name} was fitted without feature names")


def check_input_features(estimator, input_features):
    """The names that `get_feature_names_out` was given, where they are those of `fit`."""
    names = [str(name) for name in input_features]
    fitted = list(getattr(estimator, "feature_names_in_", ()))
    if fitted and names != fitted:
        raise ValueError("input_features is not equal to feature_names_in_")
    if len(names) != estimator.n_features_in_:
        raise ValueError(
            "input_features should have length equal to number of features "
            f"({estimator.n_features_in_}), got {len(names)}"
        )
    return names


def _other_columns(fitted, names):
    """scikit-learn's message for a frame with other columns than `fit` saw."""
    unseen = sorted(set(names) - set(fitted))
    absent = sorted(set(fitted) - set(names))
    lines = ["The feature names should match those that were passed during fit."]
    if unseen:
        lines += [
            "Feature names unseen at fit time:",
            *(f"- {name}" for name in unseen),
        ]
    if absent:
        lines += ["Feature names seen at fit time, yet now missing:"]
        lines += [f"- {name}" for name in absent]
    if not unseen and not absent:
        lines += ["Feature names must be in the same order as they were in fit."]
    return "\n".join(lines) + "\n"
