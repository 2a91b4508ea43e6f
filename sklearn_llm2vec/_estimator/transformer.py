"""``LLMEmbeddingTransformer``: the scikit-learn estimator.

Parameters, validation, feature names, PCA and output live here. What a vector is and
where it comes from is the business of ``_vectors`` and below; the estimator never holds a
model, so a clone is free, ``set_params`` always takes effect and a pickle is small.
"""

import dataclasses
import functools
import numbers
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state

from sklearn_llm2vec._adapt.adapt import adapt
from sklearn_llm2vec._adapt.recipe import resolve_recipe
from sklearn_llm2vec._adapt.store import AdapterStore
from sklearn_llm2vec._adapt.texts import read_training_texts
from sklearn_llm2vec._common.public import public_in
from sklearn_llm2vec._common.rowwise import row_products, unit_length
from sklearn_llm2vec._encode.endpoint import CELL, ServedSpec, read_served_model
from sklearn_llm2vec._estimator.parameters import (
    check_parameters,
    resolve_layer,
    resolve_pooling,
    resolve_space,
    template_columns,
)
from sklearn_llm2vec._estimator.vectors import (
    Report,
    Source,
    check_prompt,
    find_vectors,
    open_cache,
)
from sklearn_llm2vec._model.adapters import (
    TrainedAdapter,
    read_adapters,
    save_adapter,
)
from sklearn_llm2vec._model.dense import Behind
from sklearn_llm2vec._model.devices import resolve_devices
from sklearn_llm2vec._model.folders import read_model
from sklearn_llm2vec._network.pooling import POOLINGS
from sklearn_llm2vec._text.rows import read_rows
from sklearn_llm2vec._text.templates import PRESETS
from sklearn_llm2vec._text.texts import read_texts, split_pairs


@public_in("sklearn_llm2vec")
class LLMEmbeddingTransformer(TransformerMixin, BaseEstimator):
    """Turn text columns into features: hidden states of a language model.

    Each text becomes the pooled hidden state of one layer of a Hugging Face decoder or
    encoder. Every text goes through the model once, ever: vectors are kept in a cache on
    disk that all folds, candidates, processes and later sessions share.

    Parameters
    ----------
    model : str or path-like, default="sentence-transformers/all-MiniLM-L6-v2"
        Hub id or local folder. Weights must be in safetensors format. With `endpoint` the
        name under which the server has it.
    layer : int, float or tuple, default=-1
        Which hidden state, as transformers numbers them: 0 the embeddings, L (the number
        of layers) the last, after the final norm. Negative from the end. A float in
        [0, 1] is the relative depth, rounded to a layer. A tuple of these is the mean
        of those layers' pooled vectors.
    pooling : {"auto", "mean", "weighted_mean", "last", "first", "max"}, default="auto"
        How a text's tokens become one vector. "weighted_mean" weighs token i by
        i / sum(i). "auto" is what the model's folder declares, else "weighted_mean" with
        causal attention and "mean" otherwise (LLM2Vec, arXiv 2404.05961, table 5); with
        the presets of `template` it is what they were made for ("last"; "mean" for
        "echo"). Dense layers that a sentence-transformers folder declares are applied
        with "auto" and the last layer only.
    special_tokens : "auto" or bool, default="auto"
        Whether BOS, CLS and SEP count in "mean", "weighted_mean" and "max". "auto": yes
        for encoders and in folders of sentence-transformers, no for other decoders.
    attention : {"auto", "causal", "bidirectional"}, default="auto"
        "auto" is what the model was made for. "bidirectional" lets every token of a
        causal decoder see all others (LLM2Vec, section 2.1); it is proved when the model
        is loaded. Without training it helps some models and hurts others: search it.
    template : str or None, default=None
        The prompt around each text. A string with ``{text}`` in it; or with names of
        columns, ``"Title: {title}. {review}"``, which makes one vector a row of all of
        them; or "row", which writes every column of the row, numbers, dates and
        categories too, as ``name: value``. For causal decoders there are the presets
        "prompt_eol" (arXiv 2307.16645), "cot" and "ke" (arXiv 2404.03921) and "echo"
        (arXiv 2402.15449), and "chat" is the chat template that the model brings; where
        it prints the date, that is always 26 July 2024, so that vectors don't change by
        day. "mean", "weighted_mean" and "max" take the tokens of the texts only (of the
        last copy, where one is repeated), "last" is the last token of the whole prompt.
        None is the default prompt that a sentence-transformers folder declares, else the
        bare text, which ``"{text}"`` is in any case.
    token_prepending : int, tuple of (int, int) or None, default=None
        Token Prepending (arXiv 2412.11556) for causal decoders with a prompt: a
        placeholder before the text takes the last token's state before the layers 1 up to
        this one, or from the first of a tuple up to the second (not included).
    adapters : str, path-like, sequence of these or None, default=None
        PEFT adapters, hub ids or local folders, merged into the model in order. Needs
        extra ``adapt``. Those of LLM2Vec make `attention` "bidirectional" where it is
        "auto".
    adapt : str, LLM2VecRecipe or None, default=None
        What `fit` trains on the texts that it is given: "mntp", "simcse", "supervised"
        (contrastive learning from `y`), "mntp+simcse" or "mntp+supervised" with
        LLM2Vec's parameters, scaled to the number of texts, or an `LLM2VecRecipe`. Makes
        `attention` "bidirectional" where it is "auto". Adapters are kept beside the
        cache, so a second fit on the same texts is free. Needs extra ``adapt``.
    n_components : int or None, default=None
        Components of a PCA, one for each text column, learned in `fit`.
    normalize : bool, default=False
        Scale each vector to unit length, after everything else.
    missing : {"zero", "nan", "empty", "error"}, default="zero"
        What None, NaN, ``pd.NA`` and ``pd.NaT`` become: a zero vector, a NaN vector, the
        vector of the empty string, or a ValueError.
    max_length : int or None, default=None
        Tokens of a text, special tokens included. None is the model's own limit, at most
        512.
    long_texts : {"truncate", "chunk", "error"}, default="truncate"
        What happens to longer texts: they are cut, with one warning that counts them; or
        windows of `max_length` tokens, each in the whole prompt, are pooled together as
        if they were one text; or a ValueError is raised before anything is encoded, for
        which all texts are tokenised, also those that the cache holds.
    chunk_overlap : int, default=0
        Tokens that two windows of a text share, with ``long_texts="chunk"``.
    cache : bool, path-like, EmbeddingCache or None, default=True
        True is the user's default cache (``$SKLEARN_LLM2VEC_CACHE``, else the platform's
        cache folder), a path a cache in that folder, False or None no cache.
    keep : "auto", "requested", "all" or tuple of (layers, poolings), default="auto"
        What a pass of the model stores. "requested": what `layer` and `pooling` ask for.
        "all": every layer with every pooling. A tuple names them; either part may be
        "all". "auto": what is asked for, but everything as soon as texts that were
        encoded before need another layer or pooling, because a search is under way then.
    device : str, tuple of str or None, default=None
        A torch device, or several of one kind, ``("cuda:0", "cuda:1")``: each then holds
        the model and takes a part of the passes; `adapt` trains on the first, and
        processes take turns by the first. None is the first accelerator, else the CPU.
    dtype : {"auto", "float32", "bfloat16", "float16"}, default="auto"
        Of the model's arithmetic. "auto" is bfloat16 on an accelerator that has it, else
        float32. The features are float32 in any case.
    batch_tokens : int or "auto", default="auto"
        Most tokens in one pass of the model, or by an estimate in one request to an
        `endpoint`. "auto" is 1,024 on a CPU and follows from the free memory elsewhere.
        Where memory runs out, passes are halved. Changes speed and memory, no vector.
    revision : str or None, default=None
        Branch, tag or commit of the model on the hub. With `endpoint` any word of yours
        for what the server has under the name: another one means other vectors.
    trust_remote_code : bool, default=False
        Whether Python code in the model's folder may run.
    endpoint : str or None, default=None
        Base URL of an OpenAI-compatible embeddings server, such as
        ``"http://localhost:8000/v1"``: vectors are asked for there, and nothing is loaded
        here. Whatever only the model's owner can choose (`layer`, `pooling`,
        `attention`, `max_length`, ...) must stay at its default; `template` may be a
        string or "row". Needs extra ``endpoint``.
    api_key_env : str or None, default="OPENAI_API_KEY"
        Name of the environment variable whose value is sent to `endpoint` as the key;
        None, or a variable that isn't set, sends none. The key itself is kept nowhere.
    verbose : "auto" or bool, default="auto"
        Progress bar; "auto" shows it when encoding lasts longer than 3 seconds.
    random_state : int, RandomState instance or None, default=None
        Seed of the PCA and, where the recipe has none, of `adapt`; None is 0 there.

    Attributes
    ----------
    n_layers_ : int
        Layers of the model; it has one hidden state more. None with `endpoint`.
    layer_ : int or tuple of int
        The layer or layers in use, counted from 0. -1 with `endpoint`: the server's.
    pooling_ : str
        The pooling in use. "auto" with `endpoint`: the server's.
    embedding_dim_ : int
        Features of one text column before PCA.
    fingerprint_ : str
        Names all that changes a vector but layer and pooling; 64 hexadecimal digits.
    feature_names_in_ : ndarray of str, shape (n_columns,)
        Names of the columns; only when the input was a frame.
    n_features_in_ : int
        Number of text columns.
    pca_ : list of PCA
        One for each text column; only with `n_components`.
    adapter_ : tuple of TrainedAdapter
        What `adapt` trained, as safetensors bytes, in the order in which it is merged.
    adaptation_history_ : dict of str to list
        ``stage``, ``step``, ``loss`` and ``learning_rate`` of each step of `adapt`.
    last_report_ : Report
        What the last `transform` did: ``texts``, ``unique``, ``cached``, ``encoded``,
        ``tokens`` (with `endpoint` those that the server counts), ``seconds``,
        ``bytes_written``.

    See Also
    --------
    layer_pooling_grid : A search over layers and poolings that costs one pass.
    LLM2VecRecipe : The parameters of `adapt`.
    AdaptationDisplay : The loss of `adapt` by step.
    EmbeddingCache : The store of the vectors.

    Notes
    -----
    Without `n_components` and `adapt` nothing is learned, and `transform` works without
    `fit`. `fit` reads the model's configuration and names its weights, but doesn't load
    them.

    On a CPU with float32 a text's vector has the same bits alone, in any batch, in any
    order, from the cache or not; but for mixtures of experts, whose last bits differ.

    References
    ----------
    .. [1] BehnamGhader et al., "LLM2Vec: Large Language Models Are Secretly Powerful
       Text Encoders", COLM 2024, arXiv 2404.05961.

    Examples
    --------
    >>> from sklearn_llm2vec import LLMEmbeddingTransformer
    >>> encoder = LLMEmbeddingTransformer(layer=3, pooling="mean", cache=False)
    >>> features = encoder.fit_transform(["a text", "another text", None])
    >>> features.shape, features.dtype
    ((3, 384), dtype('float32'))
    >>> encoder.get_feature_names_out()[:2]
    array(['llm_0', 'llm_1'], dtype=object)
    """

    def __init__(
        self,
        model="sentence-transformers/all-MiniLM-L6-v2",
        *,
        layer=-1,
        pooling="auto",
        special_tokens="auto",
        attention="auto",
        template=None,
        token_prepending=None,
        adapters=None,
        adapt=None,
        n_components=None,
        normalize=False,
        missing="zero",
        max_length=None,
        long_texts="truncate",
        chunk_overlap=0,
        cache=True,
        keep="auto",
        device=None,
        dtype="auto",
        batch_tokens="auto",
        revision=None,
        trust_remote_code=False,
        endpoint=None,
        api_key_env="OPENAI_API_KEY",
        verbose="auto",
        random_state=None,
    ):
        self.model = model
        self.layer = layer
        self.pooling = pooling
        self.special_tokens = special_tokens
        self.attention = attention
        self.template = template
        self.token_prepending = token_prepending
        self.adapters = adapters
        self.adapt = adapt
        self.n_components = n_components
        self.normalize = normalize
        self.missing = missing
        self.max_length = max_length
        self.long_texts = long_texts
        self.chunk_overlap = chunk_overlap
        self.cache = cache
        self.keep = keep
        self.device = device
        self.dtype = dtype
        self.batch_tokens = batch_tokens
        self.revision = revision
        self.trust_remote_code = trust_remote_code
        self.endpoint = endpoint
        self.api_key_env = api_key_env
        self.verbose = verbose
        self.random_state = random_state

    # --- scikit-learn ----------------------------------------------------------------

    def fit(self, X, y=None):
        """Read the configuration; with `adapt` train, with `n_components` learn the PCA.

        Parameters
        ----------
        X : list, array, Series or frame of str, of shape (n_rows,) or (n_rows, n_columns)
            Texts. Each column gives its own block of features. For a "supervised" stage
            also a frame with the columns "text", "positive" and perhaps "negative";
            features are those of "text".
        y : array-like of shape (n_rows,) or None, default=None
            Classes, for a "supervised" stage of `adapt`; ignored otherwise.

        Returns
        -------
        self : LLMEmbeddingTransformer

        Raises
        ------
        ValueError, TypeError
            For parameters or data of the wrong kind; `ModelNotFoundError`, a ValueError,
            when the model is in no place.
        FloatingPointError
            When the loss of a training is no number.
        ConnectionError
            When an `endpoint` doesn't answer.
        """
        self._fit(X, y)
        return self

    def fit_transform(self, X, y=None):
        """Fit, and transform the same texts.

        Raises what `fit` and `transform` raise.

        Parameters
        ----------
        X : list, array, Series or frame of str, of shape (n_rows,) or (n_rows, n_columns)
            Texts, as in `fit`.
        y : array-like of shape (n_rows,) or None, default=None
            Classes, for a "supervised" stage of `adapt`; ignored otherwise.

        Returns
        -------
        features : float32 ndarray of shape (n_rows, n_columns * n_features)
            Or a frame, if `set_output` says so.
        """
        columns, blocks = self._fit(X, y)
        if blocks is None:
            blocks = self._blocks(columns, self._source())
        return self._output(columns, blocks)

    def transform(self, X):
        """Features of texts.

        Parameters
        ----------
        X : list, array, Series or frame of str, of shape (n_rows,) or (n_rows, n_columns)
            Texts, with the columns that `fit` saw.

        Returns
        -------
        features : float32 ndarray of shape (n_rows, n_columns * n_features)
            Or a frame, if `set_output` says so.

        Raises
        ------
        NotFittedError
            With `n_components` or `adapt`, before `fit`.
        ValueError, TypeError
            For data of the wrong kind, other columns than in `fit`, or a model whose
            files have changed since.
        ConnectionError
            When an `endpoint` doesn't answer; what it answered before is in the cache.
        """
        check_parameters(self)
        self._check_is_fitted()
        if getattr(self, "_fitted_on_pairs", False):
            X, _ = split_pairs(X)
        columns = self._read(X)
        self._check_columns(columns)
        source = self._source()
        self._check_same_model(source)
        return self._output(columns, self._blocks(columns, source))

    def get_feature_names_out(self, input_features=None):
        """Names of the features: ``{column}_{i}``, or ``llm_{i}`` for a nameless column.

        Parameters
        ----------
        input_features : sequence of str or None, default=None
            Names of the columns; None takes those that `fit` saw.

        Returns
        -------
        names : ndarray of str, dtype object
        """
        if not hasattr(self, "embedding_dim_"):
            raise NotFittedError(
                f"This {type(self).__name__} instance is not fitted yet. Call 'fit' "
                "with appropriate arguments before asking for feature names."
            )
        prefixes = self._prefixes
        if input_features is not None:
            prefixes = self._check_input_features(input_features)
        width = self._width()
        return np.array(
            [f"{prefix}_{i}" for prefix in prefixes for i in range(width)], dtype=object
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = True
        tags.input_tags.allow_nan = self.missing != "error"
        tags.requires_fit = self.n_components is not None or self.adapt is not None
        return tags

    def __getstate__(self):
        # Plain dicts in place of our own classes: whoever loads a skops file, or a model
        # from mlflow, has to trust no type but the transformer.
        state = dict(super().__getstate__())
        if "last_report_" in state:
            state["last_report_"] = state["last_report_"]._asdict()
        if "adapter_" in state:
            state["adapter_"] = [dataclasses.asdict(one) for one in state["adapter_"]]
        return state

    def __setstate__(self, state):
        state = dict(state)
        if "last_report_" in state:
            state["last_report_"] = Report(**state["last_report_"])
        if "adapter_" in state:
            state["adapter_"] = tuple(
                TrainedAdapter(**one) for one in state["adapter_"]
            )
        super().__setstate__(state)

    # --- what an adaptation made ------------------------------------------------------

    def save_adapters(self, folder):
        """Write what `adapt` trained as PEFT adapters.

        Parameters
        ----------
        folder : path-like
            Gets a folder for each stage, ``1-mntp`` and the like.

        Returns
        -------
        list of str
            The folders in order: what `adapters` takes, behind those that were there.
        """
        self._check_is_adapted()
        paths = []
        for n, adapter in enumerate(self.adapter_, start=1):
            paths.append(Path(folder) / f"{n}-{adapter.stage}")
            save_adapter(adapter, paths[-1])
        return list(map(str, paths))

    def merge_and_save(self, folder):
        """Write the adapted model as a folder that transformers and other servers load.

        Its configuration says ``is_causal: false`` if it is bidirectional. Template and
        pooling are not in it.

        Parameters
        ----------
        folder : path-like
            Gets ``config.json``, the weights as safetensors, and the tokenizer.
        """
        from sklearn_llm2vec._model.loading import save_merged

        self._check_is_adapted()
        source = self._source()
        save_merged(
            source.model,
            folder,
            dtype=source.spec.dtype,
            attention=source.spec.attention,
            adapters=source.adapters,
        )

    # --- fit and transform, step by step ---------------------------------------------

    def _fit(self, X, y=None):
        check_parameters(self)
        recipe = resolve_recipe(self.adapt)
        stages = () if recipe is None else recipe.names()
        pairs = None
        if "supervised" in stages and y is None:
            X, pairs = split_pairs(X)
        columns = self._read(X)
        for name in ("pca_", "adapter_", "adaptation_history_"):
            self.__dict__.pop(name, None)
        source = self._source()
        self._set_columns(columns)
        self._fitted_on_pairs = pairs is not None
        self.n_layers_ = source.model.n_layers
        self.layer_, self.pooling_ = self._layer_and_pooling(source)
        behind = self._behind(source)
        self.embedding_dim_ = source.model.hidden_size
        if behind is not None:
            self.embedding_dim_ = behind.width(source.model.hidden_size)
        if recipe is not None:
            self._adapt(recipe, read_training_texts(columns, y, pairs, stages), source)
            source = self._source()
        self.fingerprint_ = source.spec.fingerprint
        self._model_files = _model_files(source)
        self._model_params = self._naming_params()
        if self.n_components is None:
            return columns, None
        blocks = self._blocks(columns, source)
        self.pca_ = [self._fit_pca(vectors, there) for vectors, there in blocks]
        return columns, blocks

    def _adapt(self, recipe, texts, source):
        seed = self.random_state
        if not isinstance(seed, numbers.Integral):
            seed = 0 if seed is None else check_random_state(seed).randint(2**31)
        check_random_state(int(seed))  # refuses negative and too large ones
        place = None if source.cache is None else source.cache.adapters_path
        self.adapter_, self.adaptation_history_ = adapt(
            texts,
            recipe,
            source,
            pooling=self.pooling_,
            seed=int(seed),
            store=AdapterStore(place),
            verbose=self.verbose,
        )
        self._adapted_by = recipe.get_params()

    def _source(self):
        """The model, the settings and the cache that the parameters mean."""
        cache = open_cache(self.cache)
        if self.endpoint is not None:
            return self._served_source(cache)
        model = read_model(
            self.model,
            revision=self.revision,
            trust_remote_code=self.trust_remote_code,
            memo_directory=None if cache is None else cache.path,
        )
        adapters = read_adapters(self.adapters, model.memo_directory)
        if self.adapt is not None:
            adapters += getattr(self, "adapter_", ())
        devices = resolve_devices(self.device)
        spec = resolve_space(self, model, adapters, devices[0])
        source = Source(
            model=model,
            spec=spec,
            devices=devices,
            cache=cache,
            batch_tokens=self.batch_tokens,
            long_texts=self.long_texts,
            keep=self.keep,
            verbose=self.verbose,
            adapters=adapters,
        )
        check_prompt(source)
        return source

    def _served_source(self, cache):
        """The same for a model that a server has."""
        model = read_served_model(
            self.model,
            self.endpoint,
            revision=self.revision,
            api_key_env=self.api_key_env,
            memo_directory=None if cache is None else cache.path,
        )
        plain = self.template in (None, "row", "{text}")
        template = None if plain else self.template
        return Source(
            model=model,
            spec=ServedSpec(model.endpoint, model.name, model.revision, template),
            devices=("endpoint",),
            cache=cache,
            batch_tokens=self.batch_tokens,
            keep="requested",
            verbose=self.verbose,
        )

    def _read(self, X):
        """The texts of X: of its columns, or of its rows."""
        if self.template == "row":
            return read_rows(X, missing=self.missing)
        if (names := template_columns(self.template)) is not None:
            return read_rows(X, names, missing=self.missing)
        return read_texts(X, missing=self.missing)

    def _is_one_block(self):
        return self.template == "row" or template_columns(self.template) is not None

    def _behind(self, source):
        """What the model's folder declares behind its pooling, where it belongs."""
        if source.is_served:
            return None
        model, declared = source.model, source.model.declared
        layer = resolve_layer(self.layer, model.n_layers)
        as_declared = self.pooling == "auto" and self.template not in PRESETS
        if not as_declared or layer != model.n_layers:
            return None
        if declared.unknown:
            raise ValueError(
                f"With pooling='auto' and the last layer, {model.name!r} is used as its "
                f"folder declares, but {declared.unknown} isn't known here. Choose "
                f"'pooling' among {set(POOLINGS)} to take the hidden states."
            )
        return _load_behind(declared, model.modules_digest)

    def _layer_and_pooling(self, source):
        """The layer or layers counted from 0, and the pooling; a server has its own."""
        if source.is_served:
            return CELL
        layer = resolve_layer(self.layer, source.model.n_layers)
        return layer, resolve_pooling(self, source.model, source.spec.attention)

    def _blocks(self, columns, source):
        """For each column its (vectors, which rows aren't missing)."""
        layer, pooling = self._layer_and_pooling(source)
        layers = layer if isinstance(layer, tuple) else (layer,)
        vectors, report = find_vectors(columns.unique, layers, pooling, source)
        behind = self._behind(source)
        if behind is not None:
            vectors = behind(vectors)
        n_texts = int(np.count_nonzero(columns.inverse >= 0))
        self.last_report_ = report._replace(texts=n_texts)
        return [(vectors, rows) for rows in columns.inverse.T]

    def _fit_pca(self, vectors, rows):
        present = rows[rows >= 0]
        if len(present) < self.n_components or vectors.shape[1] < self.n_components:
            raise ValueError(
                "The 'n_components' parameter of LLMEmbeddingTransformer must be at most "
                f"the number of texts in a column ({len(present)}) and of features "
                f"({vectors.shape[1]}). Got {self.n_components} instead."
            )
        pca = PCA(self.n_components, random_state=self.random_state)
        return pca.fit(vectors[present])

    def _output(self, columns, blocks):
        """Put unique vectors back into rows; PCA, missing values, unit length."""
        width = self._width(blocks[0][0].shape[1])
        if self.n_components is None and not self.normalize and len(blocks) == 1:
            vectors, rows = blocks[0]
            if np.array_equal(rows, np.arange(len(vectors))):
                return vectors  # nothing repeated or missing: no second copy
        out = np.empty((columns.inverse.shape[0], len(blocks) * width), np.float32)
        for n, (vectors, rows) in enumerate(blocks):
            if self.n_components is not None:
                vectors = _project(self.pca_[n], vectors)
            if self.normalize:
                vectors = unit_length(vectors)
            part = out[:, n * width : (n + 1) * width]
            if len(vectors):
                np.take(vectors, rows, axis=0, out=part, mode="wrap")
            part[rows < 0] = np.nan if self.missing == "nan" else 0.0
        return out

    def _width(self, embedding_dim=None):
        if self.n_components is not None:
            return self.pca_[0].n_components_
        return self.embedding_dim_ if embedding_dim is None else embedding_dim

    # --- what the parameters mean ----------------------------------------------------

    def _naming_params(self):
        return {
            name: getattr(self, name)
            for name in ("model", "revision", "adapters", "adapt", "endpoint")
        }

    def _check_is_fitted(self):
        unfitted = None
        if self.n_components is not None and not hasattr(self, "pca_"):
            unfitted = "n_components"
        recipe = resolve_recipe(self.adapt)
        if recipe is not None and (
            not hasattr(self, "adapter_") or self._adapted_by != recipe.get_params()
        ):
            unfitted = "adapt"
        if unfitted:
            raise NotFittedError(
                f"This {type(self).__name__} instance is not fitted yet. With "
                f"{unfitted!r} call 'fit' with appropriate arguments first."
            )

    def _check_is_adapted(self):
        self._check_is_fitted()
        if self.adapt is None:
            raise NotFittedError(
                f"This {type(self).__name__} instance has no adapters of its own: give "
                "'adapt' and call 'fit' first."
            )

    def _check_same_model(self, source):
        """Refuse a model whose files changed since `fit`: a classifier learned from them.

        Other parameters, and another model given by ``set_params``, take effect.
        """
        fitted = getattr(self, "_model_files", None)
        if fitted is None:
            return
        same_name = self._model_params == self._naming_params()
        now = _model_files(source)
        learned = self.n_components is not None or self.adapt is not None
        if fitted != now and (same_name or learned):
            if source.is_served:
                raise ValueError(
                    f"The model {source.model.name!r} at {source.model.endpoint} must be "
                    f"the one that 'fit' saw. Got another endpoint, name, revision or "
                    "dimension now. Fit again, or bring the model back."
                )
            others = "its weights, configuration, tokenizer or adapters"
            if fitted[:-1] == now[:-1]:
                others = "its declared pooling, dense layers or prompt"
            raise ValueError(
                f"The files of model {source.model.name!r} must be those that 'fit' saw. "
                f"Got others now: {others} changed. Fit again, or bring the model back."
            )

    # --- columns ---------------------------------------------------------------------

    def _set_columns(self, columns):
        self.n_features_in_ = len(columns.names)
        self.__dict__.pop("feature_names_in_", None)
        if columns.named:
            self.feature_names_in_ = np.array(columns.names, dtype=object)
        self._column_names = columns.names

    @property
    def _prefixes(self):
        """What the names of each block of features begin with, by today's template."""
        names = self._column_names
        if self._is_one_block() or (len(names) == 1 and names[0] is None):
            return ["llm"]
        return [f"x{i}" if name is None else name for i, name in enumerate(names)]

    def _check_columns(self, columns):
        n_fitted = getattr(self, "n_features_in_", None)
        if n_fitted is None:
            return
        fitted = list(getattr(self, "feature_names_in_", ()))
        if fitted and columns.named and fitted != list(columns.names):
            raise ValueError(_other_columns(fitted, columns.names))
        if len(columns.names) != n_fitted:
            raise ValueError(
                f"X has {len(columns.names)} features, but LLMEmbeddingTransformer is "
                f"expecting {n_fitted} features as input."
            )
        n_blocks = columns.inverse.shape[1]
        if self.n_components is not None and len(self.pca_) != n_blocks:
            raise ValueError(
                f"With template={self.template!r} a row has {n_blocks} vectors, but "
                f"'fit' learned a PCA for {len(self.pca_)}. Call 'fit' again."
            )

    def _check_input_features(self, input_features):
        names = [str(name) for name in input_features]
        fitted = list(getattr(self, "feature_names_in_", ()))
        if fitted and names != fitted:
            raise ValueError("input_features is not equal to feature_names_in_")
        if len(names) != self.n_features_in_:
            raise ValueError(
                "input_features should have length equal to number of features "
                f"({self.n_features_in_}), got {len(names)}"
            )
        return self._prefixes if self._is_one_block() else names


# --- small helpers -------------------------------------------------------------------


def _model_files(source):
    if source.is_served:
        model = source.model
        return model.endpoint, model.name, model.revision, model.hidden_size
    spec = source.spec
    modules = source.model.modules_digest
    return spec.weights, spec.config, spec.tokenizer, spec.adapters, modules


@functools.lru_cache(maxsize=8)
def _load_behind(declared, digest):
    """What is behind the pooling, read once for each content of its files.

    The weights are small, but a fit a fold would add up.
    """
    return Behind(declared)


def _project(pca, vectors):
    if not len(vectors):
        return np.zeros((0, pca.n_components_), np.float32)
    return row_products(vectors - pca.mean_, pca.components_.T)


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
