"""``LLMEmbeddingTransformer``: the scikit-learn estimator.

It never holds a model: a clone is free, ``set_params`` always takes effect, and a pickle
is small.
"""

import inspect

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import NotFittedError

from sklearn_llm2vec._adapt.recipe import resolve_recipe
from sklearn_llm2vec._adapt.texts import read_training_texts
from sklearn_llm2vec._common.public import public_in
from sklearn_llm2vec._estimator import adaptation
from sklearn_llm2vec._estimator.choice import choose_cells
from sklearn_llm2vec._estimator.features import (
    check_n_components,
    fit_pca,
    keep_index,
    rows_of_features,
)
from sklearn_llm2vec._estimator.fitted import (
    check_columns,
    check_fitted,
    check_input_features,
    check_same_model,
    fitted_model,
)
from sklearn_llm2vec._estimator.inputs import feature_names, read_input
from sklearn_llm2vec._estimator.parameters import (
    check_parameters,
    check_target,
    declared_parameters,
    is_chosen,
    plain_parameters,
)
from sklearn_llm2vec._estimator.searched import has_ended
from sklearn_llm2vec._estimator.source import open_cache, open_source, open_sources
from sklearn_llm2vec._estimator.stored import full_state, plain_state
from sklearn_llm2vec._estimator.vectors import find_blocks
from sklearn_llm2vec._text.texts import split_pairs

# What an earlier `fit` may have left.
_LEARNED = (
    "pca_",
    "adapter_",
    "adaptation_history_",
    "choice_",
    "_cells",
    "feature_names_in_",
)


@public_in("sklearn_llm2vec")
class LLMEmbeddingTransformer(TransformerMixin, BaseEstimator):
    """Turn text columns into features with the hidden states of a language model.

    Each text becomes the pooled hidden state of one layer of a Hugging Face decoder or
    encoder. Folds, candidates, processes and later sessions share the vectors in a cache
    on disk, so that texts aren't encoded again.

    The parameters by what they decide:

    - The model: `model`, `revision`, `token_env`, `trust_remote_code`, `adapters`,
      `adapt`.
    - The vector: `layer`, `pooling`, `special_tokens`, `attention`, `token_prepending`,
      `truncate_dim`, `n_components`, `normalize`, `random_state`.
    - The text: `template`, `prompt_counts`, `missing`, `max_length`, `long_texts`,
      `chunk_overlap`.
    - What is stored: `cache`, `keep`.
    - Where and how it runs: `device`, `dtype`, `batch_tokens`, `endpoint`,
      `api_key_env`, `verbose`.

    Parameters
    ----------
    model : str or path-like, default="sentence-transformers/all-MiniLM-L6-v2"
        Hub id, local folder or GGUF file. Weights must be in safetensors or GGUF format.
        With `endpoint`, the name of the model on the server.
    layer : int, float, tuple or "cv", default=-1
        Which hidden state to use, as numbered by transformers: 0 stands for the
        embeddings, and L (the number of layers) for the last layer, after the final norm.
        Negative numbers count from the end. A float in [0, 1] is the relative depth,
        rounded to a layer. A tuple of these means the average of the pooled vectors of
        these layers. With "cv", `fit` chooses for each column the layer that predicts `y`
        best; see Notes.
    pooling : {"auto", "mean", "weighted_mean", "last", "first", "max", "cv"}, \
default="auto"
        How the tokens of a text are combined into one vector. "weighted_mean" gives token
        i a weight of i / sum(i). "auto" is what the model's folder declares; without such
        a declaration, it is "weighted_mean" with causal attention and "mean" otherwise
        (LLM2Vec, arXiv 2404.05961, table 5). With the presets of `template`, "auto" is
        the pooling they were made for ("mean" for "echo" and "llm2vec", "last" for the
        others). Dense layers that a sentence-transformers folder declares are applied
        only with "auto" and the last layer. With "cv", `fit` chooses the pooling.
    special_tokens : "auto" or bool, default="auto"
        Whether "mean", "weighted_mean" and "max" include BOS, CLS and SEP. "auto"
        includes them for encoders and for folders of sentence-transformers, but not for
        other decoders.
    attention : {"auto", "causal", "bidirectional"}, default="auto"
        "auto" is the attention that the model was made for. With "bidirectional", every
        token of a causal decoder sees all others (LLM2Vec, section 2.1), which is checked
        when the model is loaded. Without training, this helps some models and hurts
        others; SmolLM2-135M loses 20 points of similarity.
    template : str or None, default=None
        The prompt around each text:

        - A string that contains ``{text}``.
        - A string that contains column names, such as ``"Title: {title}. {review}"``,
          which makes one vector for each row.
        - "row", which writes every column of the row, including numbers, dates and
          categories, as ``name: value``.
        - For causal decoders, the presets "prompt_eol" (arXiv 2307.16645), "cot" and "ke"
          (arXiv 2404.03921) and "echo" (arXiv 2402.15449).
        - For LLM2Vec checkpoints (arXiv 2404.05961), "llm2vec", or with an instruction
          ``"llm2vec: Given a question, find passages that answer it:"``.
        - "chat", the model's own chat template. If it prints the date, it always prints
          July 26, 2024, so that vectors don't change from day to day.
        - The name of a prompt that a sentence-transformers folder declares, such as
          "query".
        - None, the default prompt of such a folder, or the text alone if there is none.
          ``"{text}"`` is always the text alone.
    prompt_counts : "auto" or bool, default="auto"
        Whether "mean", "weighted_mean" and "max" include the tokens of the prompt. "last"
        and "first" always refer to the whole prompt. If False, only the tokens of the
        text are included (of its last copy, if a template repeats it), or, for a
        sentence-transformers folder, the tokens after the prompt, as with
        ``include_prompt=False`` there. "auto" is what such a folder declares, usually
        True, so that features are those of ``encode(prompt=...)``. For other models and
        for presets, "auto" is False.
    token_prepending : int, tuple of (int, int) or None, default=None
        Token Prepending (arXiv 2412.11556), for causal decoders with a prompt. Before
        each of the layers from 1 up to but not including this one, the state of a
        placeholder in front of the text is replaced with that of the last token. A tuple
        gives the first layer and the layer after the last. Gains were published for
        models with 7B parameters; SmolLM2-135M lost 2 points of similarity.
    adapters : str, path-like, sequence of these or None, default=None
        Hub ids or local folders of PEFT adapters, which are merged into the model in
        order. With the adapters of LLM2Vec, ``attention="auto"`` is "bidirectional".
        Requires the extra ``adapt``.
    adapt : str, LLM2VecRecipe or None, default=None
        What `fit` trains on the given texts. A string can be "mntp", "simcse",
        "supervised" (contrastive learning from `y`), "mntp+simcse" or "mntp+supervised",
        and stands for LLM2Vec's parameters, scaled to the number of texts. An
        `LLM2VecRecipe` sets the parameters explicitly. With `adapt`, ``attention="auto"``
        is "bidirectional". Adapters are stored beside the cache, so a second fit on the
        same texts trains nothing. Requires the extra ``adapt``.
    truncate_dim : int or None, default=None
        Number of features to keep, from the first, for each text column. The others are
        cut off before PCA and scaling to unit length. Use it for models that were trained
        for this (Matryoshka, arXiv 2205.13147). None is the number that a
        sentence-transformers folder declares, or all features if there is none. The cache
        stores whole vectors.
    n_components : int or None, default=None
        Number of components of a PCA, which `fit` fits to each text column.
    normalize : bool, default=False
        Whether to scale each vector to unit length, after everything else.
    missing : {"zero", "nan", "empty", "error"}, default="zero"
        What None, NaN, ``pd.NA`` and ``pd.NaT`` become: a zero vector (which takes part
        in the PCA of `n_components`), a NaN vector, the vector of the empty string, or a
        ValueError.
    max_length : int or None, default=None
        Largest number of tokens in a text, including special tokens. None is the model's
        own limit, but at most 512 unless the model is static.
    long_texts : {"truncate", "chunk", "error"}, default="truncate"
        What to do with longer texts. "truncate" cuts them at the end, or at the side that
        the tokenizer's ``truncation_side`` names, and a single warning gives their
        number. "chunk" divides them into windows of `max_length` tokens, each in the
        whole prompt, which are pooled as if they were one text. "error" raises a
        ValueError before anything is encoded; for this, all texts are tokenized, even
        those in the cache.
    chunk_overlap : int, default=0
        Number of tokens that neighboring windows share with ``long_texts="chunk"``.
    cache : bool, path-like, EmbeddingCache or None, default=True
        True is the user's default cache (``$SKLEARN_LLM2VEC_CACHE``, or the platform's
        cache folder if that isn't set), a path is a cache in that folder, and False or
        None means no cache.
    keep : "auto", "requested", "all" or tuple of (layers, poolings), default="auto"
        What is stored when texts are encoded. "requested" stores the requested `layer`
        and `pooling`, and "all" stores every layer with every pooling. A tuple names
        layers and poolings; either part may be "all". "auto" stores what is requested
        until texts that were encoded before need another layer or pooling, as in a
        search. It then stores everything.
    device : str, tuple of str or None, default=None
        A torch device, or several of one kind, such as ``("cuda:0", "cuda:1")``. Each of
        them holds the model and encodes part of the texts; `adapt` trains on the first
        one. None is the first accelerator, or the CPU if there is none.
    dtype : {"auto", "float32", "bfloat16", "float16"}, default="auto"
        Dtype in which the model computes. "auto" is bfloat16 on an accelerator that
        supports it, and float32 otherwise. On a CPU, "bfloat16" takes half the memory.
        Choose it for many texts or a large model if the CPU has instructions for it
        (AVX512_BF16, AMX): with AVX512_BF16, it was 1.7 times as fast, and accuracies on
        13 data sets differed by no more than noise. On other CPUs it is slower, and a
        warning says so. The features are always float32.
    batch_tokens : int or "auto", default="auto"
        Largest number of tokens in one batch or, by an estimate, in one request to an
        `endpoint`. "auto" is 1,024 on a CPU, and depends on the free memory on an
        accelerator. If memory runs out, batches are halved. On a CPU, this parameter
        changes speed and memory, but not the vectors.
    revision : str or None, default=None
        Branch, tag or commit of the model on the hub. With `endpoint`, any word that
        names the version of the served model; another word means that the vectors are
        requested again.
    trust_remote_code : bool, default=False
        Whether Python code that comes with the model may run.
    token_env : str or None, default=None
        Name of the environment variable whose value is sent to the hub as the token, for
        gated or private models and adapters. With None, or a variable that isn't set,
        huggingface_hub uses ``HF_TOKEN`` or its login. The token is never stored.
    endpoint : str or None, default=None
        Base URL of an OpenAI-compatible embeddings server, such as
        ``"http://localhost:8000/v1"``, from which the vectors are requested. No model is
        loaded. Parameters that the server determines (`layer`, `pooling`, `attention`,
        `max_length`, ...) must keep their defaults. `template` may be a string or "row".
        Requires the extra ``endpoint``.
    api_key_env : str or None, default="OPENAI_API_KEY"
        Name of the environment variable whose value is sent to `endpoint` as the API key.
        If it is None, or if the variable isn't set, no key is sent. The key is never
        stored.
    verbose : "auto" or bool, default="auto"
        Whether to show a progress bar; "auto" shows it if encoding takes longer than 3
        seconds.
    random_state : int, RandomState instance or None, default=None
        Seed of the PCA and, if the recipe has no seed, of `adapt`, where None means 0. It
        also determines which texts are used to choose a "cv" layer or pooling.

    Attributes
    ----------
    n_layers_ : int
        Number of layers of the model. There is one more hidden state than layers. None
        with `endpoint`.
    layer_ : int or tuple of int
        The layer or layers in use, counted from 0. -1 with `endpoint`. If `fit` chose for
        several columns, a tuple with one entry for each column.
    pooling_ : str or tuple of str
        The pooling in use. "auto" with `endpoint`. If `fit` chose for several columns, a
        tuple with one entry for each column.
    choice_ : dict of str to list
        How `fit` chose a "cv" layer or pooling: ``column``, ``layer``, ``pooling``,
        ``mean``, ``std`` and ``chosen`` of each combination that was compared. ``mean``
        is the share of the target's variance that is predicted, and ``std`` is the
        standard error of its difference from the first entry of the column, which is the
        combination that the model declares.
    embedding_dim_ : int or tuple of int
        Number of features of one text column before PCA, or a tuple if columns differ.
    fingerprint_ : str
        Identifies the model and all settings of its vectors except layer and pooling. It
        has 64 hexadecimal digits.
    feature_names_in_ : ndarray of str, shape (n_columns,)
        Names of the columns. Only set if the input was a frame.
    n_features_in_ : int
        Number of text columns.
    pca_ : list of PCA
        One PCA for each text column. Only set with `n_components`.
    adapter_ : tuple of TrainedAdapter
        The adapters that `adapt` trained, as safetensors bytes, in the order in which
        they are merged.
    adaptation_history_ : dict of str to list
        ``stage``, ``step``, ``loss`` and ``learning_rate`` of each step of `adapt`.
    last_report_ : Report
        What the last `transform` did: ``texts``, ``unique``, ``cached``, ``encoded``,
        ``tokens`` (with `endpoint`, as counted by the server), ``seconds`` and
        ``bytes_written``.

    See Also
    --------
    layer_pooling_grid : Grid for a search over layers and poolings.
    LLM2VecRecipe : Parameters of `adapt`.
    AdaptationDisplay : Plot of the loss of `adapt`.
    EmbeddingCache : Store of the vectors.

    Notes
    -----
    Without `n_components`, `adapt` and "cv", nothing is learned, and `transform` works
    without `fit`. `fit` reads the model's configuration and identifies its weights, but
    doesn't load them.

    With "cv", at most 2,000 rows of each column are encoded with all layers. Seven to
    nine layers and all poolings are compared by the features that they would give, after
    `n_components` and `normalize`. The score of a combination is that of a ridge
    regression on each row, fitted without that row; classes are encoded as columns of
    zeros and ones. The combination that the model declares is kept unless another one is
    better by more than one standard error of the differences (Breiman et al., 1984,
    section 3.4.3) and, for classes, predicts at least as many rows correctly. All other
    texts are encoded only up to the chosen layer. Sample weights and groups aren't taken
    into account.

    On a CPU in float32, a text gets the same vector, bit for bit, whether it is encoded
    alone or in a batch, in any order, cached or not. Mixture-of-experts models are the
    exception; their last bits may differ.

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
        prompt_counts="auto",
        token_prepending=None,
        adapters=None,
        adapt=None,
        truncate_dim=None,
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
        token_env=None,
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
        self.prompt_counts = prompt_counts
        self.token_prepending = token_prepending
        self.adapters = adapters
        self.adapt = adapt
        self.truncate_dim = truncate_dim
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
        self.token_env = token_env
        self.endpoint = endpoint
        self.api_key_env = api_key_env
        self.verbose = verbose
        self.random_state = random_state

    # --- scikit-learn ----------------------------------------------------------------

    def fit(self, X, y=None):
        """Read the configuration, and learn what the parameters ask for.

        Depending on the parameters, this trains `adapt`, chooses a "cv" layer or pooling,
        and fits the PCA of `n_components`.

        Parameters
        ----------
        X : list, array, Series or frame of str, of shape (n_rows,) or (n_rows, n_columns)
            Texts. Each column becomes its own block of features. A "supervised" stage
            also accepts a frame with the columns "text", "positive" and optionally
            "negative"; the features are those of "text".
        y : array-like of shape (n_rows,), (n_rows, n_targets) or None, default=None
            Classes for a "supervised" stage of `adapt`, and classes or numbers if the
            layer or the pooling is "cv". Ignored otherwise.

        Returns
        -------
        self : LLMEmbeddingTransformer

        Raises
        ------
        ValueError, TypeError
            For invalid parameters or data; `ModelNotFoundError`, a ValueError, if the
            model isn't found.
        FloatingPointError
            If the loss of a training isn't finite.
        MemoryError
            If the model can't be trained in the free memory.
        ConnectionError
            If an `endpoint` doesn't answer.
        """
        self._fit(X, y)
        return self

    def fit_transform(self, X, y=None):
        """Fit to the texts, then transform them.

        Raises the same errors as `fit` and `transform`.

        Parameters
        ----------
        X : list, array, Series or frame of str, of shape (n_rows,) or (n_rows, n_columns)
            Texts, as in `fit`.
        y : array-like of shape (n_rows,), (n_rows, n_targets) or None, default=None
            As in `fit`.

        Returns
        -------
        features : float32 ndarray of shape (n_rows, n_columns * n_features)
            Or a frame, if `set_output` asks for one.
        """
        params, columns, sources, blocks = self._fit(X, y)
        if blocks is None:
            blocks = self._blocks(params, columns, sources)
        self._search_ended = has_ended(self.last_report_)
        return self._output(X, params, blocks)

    def transform(self, X):
        """Compute the features of texts.

        Parameters
        ----------
        X : list, array, Series or frame of str, of shape (n_rows,) or (n_rows, n_columns)
            Texts, with the columns that `fit` saw.

        Returns
        -------
        features : float32 ndarray of shape (n_rows, n_columns * n_features)
            Or a frame, if `set_output` asks for one.

        Raises
        ------
        NotFittedError
            With `n_components`, `adapt` or "cv", before `fit`.
        ValueError, TypeError
            For invalid data, columns that differ from those in `fit`, or a model whose
            files have changed since.
        ConnectionError
            If an `endpoint` doesn't answer. Its earlier answers are in the cache.
        """
        params = check_parameters(self)
        check_fitted(self)
        texts = X
        if getattr(self, "_fitted_on_pairs", False):
            texts, _ = split_pairs(X)
        columns = read_input(params, texts)
        check_columns(self, columns)
        sources = open_sources(self, params, columns.inverse.shape[1])
        check_same_model(self, params, sources[0])
        blocks = self._blocks(params, columns, sources)
        if self.last_report_.encoded:  # a candidate's test fold, or new rows
            self._search_ended = True
        return self._output(X, params, blocks)

    def get_feature_names_out(self, input_features=None):
        """Names of the features: ``{column}_{i}``, or ``llm_{i}`` without column names.

        Parameters
        ----------
        input_features : sequence of str or None, default=None
            Names of the columns. None stands for those seen in `fit`.

        Returns
        -------
        names : ndarray of str, dtype object
        """
        if not hasattr(self, "embedding_dim_"):
            raise NotFittedError(
                f"This {type(self).__name__} instance is not fitted yet. Call 'fit' "
                "with appropriate arguments before asking for feature names."
            )
        columns = self._column_names
        if input_features is not None:
            columns = check_input_features(self, input_features)
        params, widths = plain_parameters(self), self.embedding_dim_
        if params.n_components is not None:
            widths = self.pca_[0].n_components_
        return feature_names(params, columns, widths)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = True
        tags.input_tags.allow_nan = self.missing != "error"
        chosen = is_chosen(plain_parameters(self))
        tags.target_tags.required = chosen
        tags.requires_fit = (
            self.n_components is not None or self.adapt is not None or chosen
        )
        return tags

    def __getstate__(self):
        return plain_state({**super().__getstate__(), **vars(plain_parameters(self))})

    def __setstate__(self, state):
        # Files of earlier versions lack the parameters that came later.
        parameters = inspect.signature(type(self)).parameters
        newer = {name: one.default for name, one in parameters.items()}
        super().__setstate__({**newer, **full_state({**newer, **state})})

    # --- what an adaptation made ------------------------------------------------------

    def save_adapters(self, folder):
        """Save the adapters that `adapt` trained, in PEFT format.

        Parameters
        ----------
        folder : path-like
            In this folder, a folder such as ``1-mntp`` is created for each stage.

        Returns
        -------
        list of str
            The folders in order. Pass them as `adapters`, after any adapters that were
            given before.
        """
        return adaptation.save_adapters(self, folder)

    def merge_and_save(self, folder):
        """Save the adapted model as a folder that transformers and servers can load.

        If the model is bidirectional, its configuration says ``is_causal: false``. The
        template and the pooling aren't saved.

        Parameters
        ----------
        folder : path-like
            Where ``config.json``, the weights in safetensors format and the tokenizer are
            written.
        """
        adaptation.merge_and_save(self, folder)

    # --- fit and transform, step by step ---------------------------------------------

    def _fit(self, X, y):
        """Learn; return what `fit_transform` goes on with, perhaps the vectors too."""
        self._search_ended = False
        params = check_parameters(self)
        recipe = resolve_recipe(params.adapt)
        stages = () if recipe is None else recipe.names()
        pairs = None
        if "supervised" in stages and y is None:
            X, pairs = split_pairs(X)
        columns = read_input(params, X)
        check_target(params, y)
        for name in _LEARNED:
            self.__dict__.pop(name, None)
        source = open_source(self, params)
        check_n_components(params, columns, source.width)
        if recipe is not None:
            texts = read_training_texts(columns, y, pairs, stages)
            self.adapter_, self.adaptation_history_ = adaptation.train_adapters(
                declared_parameters(params), recipe, texts, source
            )
            self._adapted_by = recipe.get_params()
        if is_chosen(params):
            self._cells, self.choice_ = choose_cells(self, params, columns, y)
        sources = open_sources(self, params, columns.inverse.shape[1])
        self.n_features_in_ = len(columns.names)
        if columns.named:
            self.feature_names_in_ = np.array(columns.names, dtype=object)
        self._column_names = columns.names
        self._fitted_on_pairs = pairs is not None
        self._read_sources(params, sources)
        blocks = None
        if params.n_components is not None:
            blocks = self._blocks(params, columns, sources)
            self.pca_ = [fit_pca(params, *block) for block in blocks]
        return params, columns, sources, blocks

    def _read_sources(self, params, sources):
        """Keep what the sources of all blocks say."""
        first = sources[0]
        self._fitted_model = fitted_model(params, first)
        self.n_layers_ = first.n_layers
        self.fingerprint_ = first.fingerprint
        widths = tuple(source.width for source in sources)
        self.embedding_dim_ = widths[0] if len(set(widths)) == 1 else widths
        self.layer_, self.pooling_ = first.layer, first.pooling
        if is_chosen(params) and len(sources) > 1:
            self.layer_ = tuple(source.layer for source in sources)
            self.pooling_ = tuple(source.pooling for source in sources)

    def _blocks(self, params, columns, sources):
        """Vectors of the distinct texts of each block, and which each row has."""
        cache = open_cache(params.cache)
        blocks, report = find_blocks(columns, sources, cache, params.verbose)
        n_texts = int(np.count_nonzero(columns.inverse >= 0))
        self.last_report_ = report._replace(texts=n_texts)
        return blocks

    def _output(self, X, params, blocks):
        pcas = None if params.n_components is None else self.pca_
        features = rows_of_features(params, blocks, pcas)
        return keep_index(self, X, features)
