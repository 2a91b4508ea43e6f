"""The weights of a GGUF file, as transformers takes those of a safetensors file.

Which tensor becomes which weight, and how llama.cpp has turned it round, is transformers'
knowledge. A tensor is unpacked when transformers asks for its weight, and only then.
"""

import copy
import functools
import re
from importlib.metadata import version

import numpy as np

from sklearn_llm2vec._common.imports import quiet
from sklearn_llm2vec._model.gguf_families import PROCESSORS
from sklearn_llm2vec._model.gguf_file import own_memory, read_header

# Tables by token: large, and the same in both worlds.
TABLES = ("token_embd.weight", "per_layer_token_embd.weight")
# Read with the configuration.
OF_POSITIONS = re.compile(r"rope_(freqs|factors_short|factors_long)\.weight")
# The other half of a translator, of which only the encoder is used.
OF_DECODER = re.compile(r"(dec\..*|output\.weight)")
BLOCK = re.compile(r"blk\.(\d+)\..*")


def from_gguf(factory, path, config, dtype):
    """A network with its weights from a GGUF file.

    Parameters
    ----------
    factory : class
        Of transformers: an auto class, or that of the network. It may hold fewer layers
        than the file has; the tensors of others aren't unpacked.
    path : Path
    config : transformers configuration
    dtype : torch.dtype

    Returns
    -------
    network : transformers model
    report : dict
        Of what was missing, as ``from_pretrained`` gives it.
    """
    made = weights(read_header(path, words=False), config, dtype)
    with quiet():
        return _class_of(factory, config).from_pretrained(
            None,
            config=config,
            state_dict=made,
            dtype=dtype,
            output_loading_info=True,
        )


def unembedding(path, tied):
    """The matrix from hidden states to words, (vocabulary, hidden), or None.

    Parameters
    ----------
    path : Path
    tied : bool
        Whether the embeddings are that matrix where there is none of its own.
    """
    tensors = read_header(path, words=False).tensors
    names = ("output.weight", "token_embd.weight") if tied else ("output.weight",)
    found = [tensors[name] for name in names if name in tensors]
    return found[0].read() if found else None


def _class_of(factory, config):
    """The class that an auto class stands for; any other itself."""
    import torch

    kinds = getattr(factory, "_model_mapping", None)
    if kinds is None:
        return factory
    if isinstance(kind := kinds[type(config)], type):
        return kind
    with torch.device("meta"):  # several, among which it chooses
        return type(factory.from_config(copy.deepcopy(config)))


class Weight:
    """A weight that is made when it is taken, as a slice of a safetensors file is."""

    def __init__(self, make):
        self.make = make

    def __getitem__(self, _):
        return self.make()


def weights(header, config, dtype):
    """All weights of the network in a GGUF file, by transformers' names.

    Parameters
    ----------
    header : GGUFHeader
    config : transformers configuration
        Of `read_config`.
    dtype : torch.dtype
        That the weights will have.

    Returns
    -------
    dict of str to Weight
        Those of the whole model with its language-model head.

    Raises
    ------
    ValueError
        When a tensor has no place in the network, or its values can't be unpacked.
    """
    _check_kinds(header)
    blank = _blank(config)
    dtype_of = functools.partial(_dtype_of, blank, dtype)
    sources = _by_conversion(header, config, blank, dtype_of)
    if sources is None:
        sources = _by_name(header, config, blank, dtype_of)
    made, used = sources
    _check_used(header, config, used)
    return {
        name: Weight(functools.partial(_in_dtype, make, dtype_of(name)))
        for name, make in made.items()
    }


def _dtype_of(blank, dtype, place):
    """The dtype that transformers gives a weight, or float32 where that depends."""
    import torch

    kept = [
        name
        for entry in ("_keep_in_fp32_modules", "_keep_in_fp32_modules_strict")
        for name in getattr(blank, entry, None) or ()
    ]
    return torch.float32 if any(name in place for name in kept) else dtype


def _in_dtype(make, dtype):
    """A weight in memory of its own; what it was made from is let go of."""
    weight = make()
    if weight.dtype == dtype or not weight.is_floating_point():
        return weight
    return own_memory(weight.shape, dtype).copy_(weight)


def _check_kinds(header):
    from gguf.constants import GGML_QUANT_SIZES
    from gguf.quants import dequantize

    for kind in sorted({tensor.kind for tensor in header.tensors.values()}):
        try:
            dequantize(np.zeros((1, GGML_QUANT_SIZES[kind][1]), np.uint8), kind)
        except NotImplementedError as error:  # gguf has no other way to ask
            raise ValueError(
                f"The tensors of the GGUF file {header.paths[0]} must be of types that "
                f"the gguf package unpacks. Got {kind.name} instead."
            ) from error


def _check_used(header, config, used):
    n_layers = config.get_text_config().num_hidden_layers
    for name in header.tensors:
        block = BLOCK.fullmatch(name)
        if (
            name in used
            or OF_POSITIONS.fullmatch(name)
            or (config.is_encoder_decoder and OF_DECODER.fullmatch(name))
            # Blocks behind the last layer foretell several tokens at once.
            or (block and int(block[1]) >= n_layers)
        ):
            continue
        raise ValueError(
            f"Each tensor of the GGUF file {header.paths[0]} must belong to a part of "
            f"the network that transformers builds for {header.architecture!r}. "
            f"{name} doesn't, and without it the hidden states would be wrong: use "
            "the model's safetensors folder instead."
        )


def _blank(config):
    """The network with its head, without memory for its weights."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForTextEncoding

    factory = (
        AutoModelForTextEncoding if config.is_encoder_decoder else AutoModelForCausalLM
    )
    with quiet(), torch.device("meta"):
        return factory.from_config(copy.deepcopy(config))


# --- families whose tensors are found by their names ------------------------------------


def _by_name(header, config, blank, dtype_of):
    from transformers.modeling_gguf_pytorch_utils import (
        TENSOR_PROCESSORS,
        TensorProcessor,
    )

    processors = TENSOR_PROCESSORS | PROCESSORS
    processor = processors.get(header.architecture, TensorProcessor)
    processor = processor(config=config.to_dict())
    blank = blank.state_dict()
    places = _places(blank, header.architecture, config, processor)
    made = {}
    for name in header.tensors:
        # Weights of several experts have no suffix.
        if place := places.get(name) or places.get(name.removesuffix(".weight")):
            made.setdefault(place, []).append(name)
    used = {name for names in made.values() for name in names}

    def make(place):
        names = made[place]
        if names[0] in TABLES:
            return header.tensors[names[0]].read(dtype_of(place))
        weight = _processed(header, processor, places, place, names)
        shape = blank[place].shape
        # Converters of several years differ in sides of length 1.
        return weight.reshape(shape) if weight.numel() == shape.numel() else weight

    return {place: functools.partial(make, place) for place in made}, used


def _places(blank, architecture, config, processor):
    """Transformers' name of each weight by the name of its tensor in the file."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    kind = {name: kind for kind, name in MODEL_ARCH_NAMES.items()}.get(architecture)
    if kind is None:
        raise ImportError(
            f"The gguf package must know the architecture {architecture!r}. Version "
            f"{version('gguf')} doesn't: upgrade it with pip install --upgrade gguf"
        )
    names = get_tensor_name_map(kind, config.get_text_config().num_hidden_layers)
    places = {}
    for place in blank:
        renamed = processor.preprocess_name(place)
        stem, dot, suffix = renamed.rpartition(".")
        if suffix not in ("weight", "bias"):
            stem, dot, suffix = renamed, "", ""
        # Some were converted from a model without a head, whose names are shorter.
        tensor = names.get_name(stem) or names.get_name(stem.partition(".")[2])
        if tensor is not None:
            places.setdefault(f"{tensor}{dot}{suffix}", place)
        else:
            processor.perform_fallback_tensor_mapping(
                places, f"{dot}{suffix}", "", renamed
            )
    return places


def _processed(header, processor, places, place, names):
    """A weight, turned back from llama.cpp's form."""
    import torch

    parsed = {"tensors": {}, "config": processor.config}
    for name in names:
        stored = header.tensors[name].read()
        result = processor.process(
            weights=stored.numpy(),
            name=name,
            tensor_key_mapping=places,
            parsed_parameters=parsed,
        )
        if result.name is not None:
            made = torch.from_numpy(result.weights)
            if made.data_ptr() == stored.data_ptr() and made.is_contiguous():
                return made
            return own_memory(made.shape, made.dtype).copy_(made)
    return parsed["tensors"][place]


# --- families for which transformers lists conversions ----------------------------------


def _by_conversion(header, config, blank, dtype_of):
    """As `_by_name`, or None where the installed transformers lists none."""
    try:
        from transformers.core_model_loading import WeightConverter, rename_source_key
        from transformers.integrations.gguf import (
            get_gguf_conversion_mapping,
            is_gguf_arch_supported,
        )
    except ImportError:
        return None  # an earlier version of transformers
    if not is_gguf_arch_supported(header.architecture):
        return None
    mapping = get_gguf_conversion_mapping(header.architecture, config)
    converters = [entry for entry in mapping if isinstance(entry, WeightConverter)]
    renamings = [entry for entry in mapping if not isinstance(entry, WeightConverter)]
    by_pattern = {p: c for c in converters for p in c.source_patterns}
    known = blank.state_dict()
    made = {}
    for name in header.tensors:
        place, pattern = rename_source_key(name, renamings, converters)
        if place in known:
            made.setdefault(place, []).append((name, pattern))
    used = {name for sources in made.values() for name, _ in sources}

    def make(place):
        (name, pattern), *_ = made[place]
        if pattern is None:
            return header.tensors[name].read(dtype_of(place))
        converter = copy.deepcopy(by_pattern[pattern])
        for name, pattern in made[place]:
            converter.add_tensor(place, name, pattern, header.tensors[name].read)
        (weight,) = converter.convert(place, config=config).values()
        return weight[0] if isinstance(weight, list) else weight

    return {place: functools.partial(make, place) for place in made}, used
