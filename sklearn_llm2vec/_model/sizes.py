"""Sizes: a configuration must not describe a larger network than the weights can fill.

transformers builds whatever ``config.json`` describes before it reads any weight, and
building a billion layers would never end. The headers of the weights limit the sizes.
"""

import math
import re

from sklearn_llm2vec._common.people import printable
from sklearn_llm2vec._model.damage import UNQUANTIZED, blamed_on

# Settings for the number of times that something is built in a loop: what is counted
# stands at the end ("num_hidden_layers", "block_count", "layers_per_stack").
_COUNTS = re.compile(
    r"(^|[_.])(layer|block|head|group|stage|depth|expert|network|function|repeat)s?"
    r"(_(count|count_kv|kv|num|number|per_\w+))?$|^block_sizes$"
)
# Widths and tables that end like counts ("vocab_size_per_layer").
_NO_COUNTS = re.compile(r"_size|dim|vocab|channel|(^|_)d_head")
# Settings for the number of values in a row.
_WIDTHS = re.compile(
    r"(_size|_dim|d_model|n_embd|d_ff|d_kv|n_inner|(embedding|forward)_length)$"
)
# Up to these numbers, the weights aren't consulted: ALBERT's layers share their weights,
# and Doge has 16,384 experts in one table.
ANYWAY = 1024
EXPERTS_ANYWAY = 2**15
WIDE_ANYWAY = 10**6
# A whole number that torch can hold.
LARGEST = 2**63 - 1
# Rotary positions need no table, and some models name ten million of them; a table that
# the weights can't fill is refused with the network.
MOST_POSITIONS = 2**24
# Parts without weights, such as tables of sines, in bytes.
MOST_TABLES = 2**32


def check_sizes(config, path, shapes):
    """Raise for a configuration that would take forever to build.

    Parameters
    ----------
    config : dict
        What ``config.json`` holds, or the header of a GGUF file.
    path : Path
        That file.
    shapes : list of sequence of int
        Of the tensors in the weights.

    Raises
    ------
    ValueError
    """
    n_numbers = sum(map(math.prod, shapes))
    for name, value in _numbers(config):
        limit = LARGEST
        if _is_count(name):
            anyway = EXPERTS_ANYWAY if "expert" in name else ANYWAY
            limit = max(anyway, len(shapes))
        elif _WIDTHS.search(name):
            limit = max(WIDE_ANYWAY, n_numbers)
        elif "position" in name:
            limit = MOST_POSITIONS
        if abs(value) > limit:
            said = f"{value:,}" if value < 10**30 else "a number of too many digits"
            raise ValueError(
                f"The entry {name!r} of {str(path)!r} must be a size that "
                f"the weights can have, at most {limit:,}. Got {said} "
                "instead: copy or download the model again."
            )


def _is_count(name):
    """Whether a setting's number is that of the steps of a loop."""
    counts = name == "block_sizes" or not _NO_COUNTS.search(name)
    return counts and _COUNTS.search(name) is not None


def _numbers(content, name=""):
    """Whole numbers anywhere in a configuration, with the names of their entries."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _numbers(value, str(key))
    elif isinstance(content, list):
        for value in content:
            yield from _numbers(value, name)
    elif isinstance(content, int) and not isinstance(content, bool):
        yield name, content


def shapes_of(paths):
    """The shapes of the tensors in safetensors files, whose headers are checked.

    Parameters
    ----------
    paths : list of Path

    Returns
    -------
    list of sequence of int

    Raises
    ------
    ValueError
        For a file that isn't a whole one.
    """
    from safetensors import safe_open

    shapes = []
    for path in paths:
        with (
            blamed_on(path, "be a whole safetensors file", ImportError),
            open(path, "rb"),  # safetensors calls any file absent that can't be opened
            safe_open(path, framework="np") as file,
        ):
            shapes += [file.get_slice(name).get_shape() for name in file.keys()]
    return shapes


def check_fits(network, model):
    """Raise for a network that has far more parameters than the weights hold.

    Parameters
    ----------
    network : transformers model
        Without memory for its weights.
    model : ModelFolder

    Raises
    ------
    ValueError
    """
    n_needed = sum(part.numel() for part in network.parameters())
    n_tables = sum(part.numel() * part.element_size() for part in network.buffers())
    n_stored = sum(math.prod(shape) for shape in model.shapes)
    # Parts that are never read, such as a pooler, may be missing.
    if n_needed > 2 * n_stored + 10**6 or n_tables > MOST_TABLES + 4 * n_stored:
        if packing := getattr(network.config, "quantization_config", None):
            raise ValueError(
                f"The weights in {model.place} must be plain floating-point numbers. Got "
                f"quantized ones ({_name_of(packing)}), several in a number, instead: "
                f"{UNQUANTIZED}."
            )
        raise ValueError(
            f"The weights in {model.place} must fill the network that config.json "
            f"describes. Got {n_stored:,} numbers for {n_needed:,} parameters and "
            f"{n_tables:,} bytes of tables: copy or download the model again."
        )


def _name_of(packing):
    """How weights are quantized, as their configuration says it."""
    said = packing if isinstance(packing, dict) else vars(packing)
    method = said.get("quant_method")
    return printable(getattr(method, "value", method) or "quantization_config", 40)
