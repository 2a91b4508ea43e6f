"""``LLM2VecRecipe``: what ``adapt`` trains, and how.

Parameters and their checks. torch isn't imported: a grid over recipes costs nothing.
"""

from sklearn.base import BaseEstimator

from sklearn_llm2vec._adapt.stage import make_stage
from sklearn_llm2vec._common.checks import (
    among,
    is_flag,
    is_integer,
    is_number,
    refused,
)
from sklearn_llm2vec._common.names import CHAINS, STAGES
from sklearn_llm2vec._common.public import public_in

MASK_STRATEGIES = ("bert", "all")
# float16 has no room for gradients.
PRECISIONS = ("auto", "float32", "bfloat16")


@public_in("sklearn_llm2vec")
class LLM2VecRecipe(BaseEstimator):
    """Parameters of LLM2Vec, with which `LLMEmbeddingTransformer.fit` adapts a model.

    Pass a recipe as `adapt`. A grid can search its parameters, for example
    ``adapt__mntp_steps``. Each stage trains LoRA adapters on the result of the previous
    stage.

    Parameters
    ----------
    stages : str, default="mntp+simcse"
        "mntp" (masked next token prediction), "simcse" (unsupervised contrastive
        learning), "supervised" (contrastive learning from `y` or from pairs), or MNTP
        followed by one of the others, "mntp+simcse" or "mntp+supervised".
    mntp_steps, simcse_steps, supervised_steps : int or "auto", default="auto"
        Number of optimizer steps. "auto" is 1,000, as in LLM2Vec, but at most 10 epochs
        for MNTP, 5 for SimCSE and 10 with labels.
    mntp_batch_size, simcse_batch_size, supervised_batch_size : int or "auto", \
default="auto"
        Number of texts in a step. "auto" is 32, 128 and 512, as in LLM2Vec, but at most
        128 and at most a quarter of the texts, rounded to a power of two. The memory that
        training needs doesn't depend on the batch size, because a batch is processed in
        parts that fit into memory.
    mntp_learning_rate, simcse_learning_rate, supervised_learning_rate : float or \
"auto", default="auto"
        Highest learning rate, from which it falls linearly to 0. For models with 4,096
        features, "auto" is 5e-5, 3e-5 and 2e-4, as in LLM2Vec. For other models, it is
        inversely proportional to the square of the number of features, up to 1e-3.
    mntp_warmup, simcse_warmup, supervised_warmup : int, float or "auto", default="auto"
        Number of steps, or share of the steps, during which the learning rate rises.
        "auto" is 0, 0 and 0.3, as in LLM2Vec.
    mask_probability : float, default=0.2
        Share of the tokens that MNTP selects for prediction.
    mask_strategy : {"bert", "all"}, default="bert"
        "bert" replaces 80 % of the selected tokens with the mask token and 10 % with
        another token, and leaves 10 % unchanged. "all" replaces all of them with the mask
        token.
    mask_token : str, default="auto"
        "auto" is the tokenizer's own mask token, or "_" if it has none.
    temperature : float, default=0.05
        Both contrastive losses divide cosines by this number.
    dropout : float or "auto", default="auto"
        Dropout of the attention while SimCSE computes its two views. "auto" is 0.3 for
        causal decoders; for encoders, it is the dropout that the model was trained with.
    lora_rank : int, default=16
        Inner dimension of the two matrices whose product is added to a layer's weights.
    lora_alpha : int, default=32
        The product is scaled by ``lora_alpha / lora_rank``.
    lora_dropout : float, default=0.05
        Dropout of an adapter's inputs during training.
    lora_targets : sequence of str or "auto", default="auto"
        Names of the linear layers that get an adapter. "auto" is all linear layers inside
        the transformer's layers.
    layer : int, default=-1
        Hidden state that the contrastive stages train, as numbered by transformers. The
        default is the last one, which trains all layers, so that you can search layers
        after a single training.
    max_length : int, default=128
        Number of tokens after which texts are cut during training.
    hard_negatives : int, default=0
        Number of texts that are added to a "supervised" batch for each of its texts. With
        classes, they are the texts of other classes that are nearest to it before
        training; with pairs, they are the nearest positives of other texts. A column
        "negative" is always used.
    gradient_checkpointing : bool, default=False
        Whether to save memory. Training then takes about a third longer.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Dtype in which training computes. "auto" is the transformer's `dtype`.
    seed : int or None, default=None
        Random seed. None is the transformer's `random_state` if that is an int, and 0
        otherwise.

    Notes
    -----
    The masked token i is predicted from the state at i - 1 (LLM2Vec, section 2.1), or
    from the state at i in an encoder with a masked-language-model head. Both contrastive
    losses are cross-entropies over a batch. In SimCSE, the positive of a text is the same
    text under another dropout (arXiv 2104.08821). With classes, the positives of a text
    are all other members of its class in the batch (supervised contrastive learning,
    arXiv 2004.11362, eq. 2).

    LLM2Vec doesn't scale its parameters with the number of texts and features as "auto"
    does.

    The same recipe, texts and seed give the same adapter on the same machine with the
    same number of threads.

    References
    ----------
    .. [1] BehnamGhader et al., "LLM2Vec: Large Language Models Are Secretly Powerful
       Text Encoders", COLM 2024, arXiv 2404.05961.

    Examples
    --------
    >>> from sklearn_llm2vec import LLM2VecRecipe, LLMEmbeddingTransformer
    >>> recipe = LLM2VecRecipe("simcse", simcse_steps=100)
    >>> transformer = LLMEmbeddingTransformer(adapt=recipe)
    >>> transformer.get_params()["adapt__simcse_steps"]
    100
    """

    def __init__(
        self,
        stages="mntp+simcse",
        *,
        mntp_steps="auto",
        mntp_batch_size="auto",
        mntp_learning_rate="auto",
        mntp_warmup="auto",
        simcse_steps="auto",
        simcse_batch_size="auto",
        simcse_learning_rate="auto",
        simcse_warmup="auto",
        supervised_steps="auto",
        supervised_batch_size="auto",
        supervised_learning_rate="auto",
        supervised_warmup="auto",
        mask_probability=0.2,
        mask_strategy="bert",
        mask_token="auto",
        temperature=0.05,
        dropout="auto",
        lora_rank=16,
        lora_alpha=32,
        lora_dropout=0.05,
        lora_targets="auto",
        layer=-1,
        max_length=128,
        hard_negatives=0,
        gradient_checkpointing=False,
        precision="auto",
        seed=None,
    ):
        self.stages = stages
        self.mntp_steps = mntp_steps
        self.mntp_batch_size = mntp_batch_size
        self.mntp_learning_rate = mntp_learning_rate
        self.mntp_warmup = mntp_warmup
        self.simcse_steps = simcse_steps
        self.simcse_batch_size = simcse_batch_size
        self.simcse_learning_rate = simcse_learning_rate
        self.simcse_warmup = simcse_warmup
        self.supervised_steps = supervised_steps
        self.supervised_batch_size = supervised_batch_size
        self.supervised_learning_rate = supervised_learning_rate
        self.supervised_warmup = supervised_warmup
        self.mask_probability = mask_probability
        self.mask_strategy = mask_strategy
        self.mask_token = mask_token
        self.temperature = temperature
        self.dropout = dropout
        self.lora_rank = lora_rank
        self.lora_alpha = lora_alpha
        self.lora_dropout = lora_dropout
        self.lora_targets = lora_targets
        self.layer = layer
        self.max_length = max_length
        self.hard_negatives = hard_negatives
        self.gradient_checkpointing = gradient_checkpointing
        self.precision = precision
        self.seed = seed

    def names(self):
        """Check all parameters and return the stages in order.

        Returns
        -------
        tuple of str

        Raises
        ------
        ValueError
            For an invalid parameter.
        """
        for name, (accepts, expected) in _constraints().items():
            value = getattr(self, name)
            if not accepts(value):
                raise refused(name, expected, value, of="LLM2VecRecipe")
        names = tuple(self.stages.split("+"))
        if "simcse" in names and self.dropout == 0 and self.lora_dropout == 0:
            raise ValueError(
                "The 'dropout' or the 'lora_dropout' parameter of LLM2VecRecipe must be "
                "above 0 for 'simcse': without dropout its two views are the same. Got 0 "
                "for both instead."
            )
        return names

    def stage(self, name, *, n_texts, n_layers, width, pooling, seed):
        """Settings of one stage for a given number of texts.

        Parameters
        ----------
        name : {"mntp", "simcse", "supervised"}
            Which of the stages.
        n_texts : int
            Number of texts that this stage is trained on.
        n_layers : int
            Number of layers of the model.
        width : int
            Number of features of the model's hidden states.
        pooling : str
            Pooling of the contrastive stages.
        seed : int
            Used if the recipe has none.

        Returns
        -------
        Stage

        Raises
        ------
        ValueError
            For a layer that the model doesn't have.
        """
        return make_stage(
            self,
            name,
            n_texts=n_texts,
            n_layers=n_layers,
            width=width,
            pooling=pooling,
            seed=seed,
        )


def resolve_recipe(adapt):
    """The recipe that an `adapt` parameter means.

    Examples
    --------
    >>> from sklearn_llm2vec._adapt.recipe import resolve_recipe
    >>> resolve_recipe("mntp+simcse").names()
    ('mntp', 'simcse')
    """
    return LLM2VecRecipe(adapt) if isinstance(adapt, str) else adapt


def _is_int(least=None):
    return lambda value: is_integer(value, least)


def _is_auto(accepts):
    return lambda value: value == "auto" if isinstance(value, str) else accepts(value)


def _is_among(names):
    return lambda value: isinstance(value, str) and value in names


def _is_between(low, high, *, closed_low=False):
    def accepts(value):
        return (
            is_number(value)
            and (low <= value if closed_low else low < value)
            and value <= high
        )

    return accepts


def _is_warmup(value):
    return is_integer(value, 0) or _is_between(0, 1, closed_low=True)(value)


def _are_names(value):
    return (
        isinstance(value, list | tuple)
        and len(value) > 0
        and all(isinstance(name, str) for name in value)
    )


def _constraints():
    """For each parameter its check, and in words what it may be."""
    count = _is_int(1), "a positive int"
    count_or_auto = _is_auto(_is_int(1)), "a positive int or 'auto'"
    # A contrast needs two texts.
    pair = _is_auto(_is_int(2)), "an int of at least 2 or 'auto'"
    rate = _is_auto(_is_between(0, 1)), "a float in (0, 1] or 'auto'"
    warmup = _is_auto(_is_warmup), "an int, a float in [0, 1] or 'auto'"
    by_stage = {}
    for stage in STAGES:
        by_stage |= {
            f"{stage}_steps": count_or_auto,
            f"{stage}_batch_size": pair,
            f"{stage}_learning_rate": rate,
            f"{stage}_warmup": warmup,
        }
    return {
        "stages": (_is_among(CHAINS), among(CHAINS)),
        **by_stage,
        "mask_probability": (_is_between(0, 1), "a float in (0, 1]"),
        "mask_strategy": (_is_among(MASK_STRATEGIES), among(MASK_STRATEGIES)),
        "mask_token": (lambda value: isinstance(value, str) and value, "a str"),
        "temperature": (_is_between(0, float("inf")), "a positive float"),
        "dropout": (
            _is_auto(_is_between(0, 0.99, closed_low=True)),
            "a float in [0, 1) or 'auto'",
        ),
        "lora_rank": count,
        "lora_alpha": count,
        "lora_dropout": (_is_between(0, 0.99, closed_low=True), "a float in [0, 1)"),
        "lora_targets": (_is_auto(_are_names), "a sequence of str or 'auto'"),
        "layer": (is_integer, "an int"),
        "max_length": count,
        "hard_negatives": (_is_int(0), "an int that isn't negative"),
        "gradient_checkpointing": (is_flag, "a bool"),
        "precision": (_is_among(PRECISIONS), among(PRECISIONS)),
        "seed": (
            lambda value: value is None or (is_integer(value, 0) and value < 2**32),
            "an int from 0 to 2**32 - 1 or None",
        ),
    }
