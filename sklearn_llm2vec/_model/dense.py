"""What comes behind the pooling: dense layers and unit lengths that a folder declares."""

import numpy as np
from scipy.special import erf, expit

from sklearn_llm2vec._common.rowwise import row_products, unit_length
from sklearn_llm2vec._model.files import read_json

DENSE_FILES = ("config.json", "model.safetensors")


class Behind:
    """All that a folder declares behind its pooling, in its order.

    But unit length at the very end, which is the user's `normalize`, unless the vector is
    cut then: of a cut vector the length before the cut matters.

    Parameters
    ----------
    declared : Declared

    Raises
    ------
    ValueError
        For a dense layer that can't be followed.
    """

    def __init__(self, declared):
        steps = list(declared.behind)
        self._stop = declared.truncate_dim
        while self._stop is None and steps and steps[-1] is None:
            steps.pop()
        self._steps = [
            unit_length if folder is None else Dense(folder) for folder in steps
        ]

    def width(self, hidden_size):
        """Features that come out."""
        widths = [step.width for step in self._steps if isinstance(step, Dense)]
        return len(range([hidden_size, *widths][-1])[: self._stop])

    def __call__(self, vectors):
        """Apply everything to pooled vectors of shape (n_texts, hidden)."""
        for step in self._steps:
            vectors = step(vectors)
        if self._stop is None:
            return vectors
        return np.ascontiguousarray(vectors[:, : self._stop])


FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
ACTIVATIONS = {
    "Identity": lambda x: x,
    "Tanh": np.tanh,
    "ReLU": lambda x: np.maximum(x, 0),
    "Sigmoid": expit,
    "SiLU": lambda x: x * expit(x),
    "GELU": lambda x: x * (0.5 * (1 + erf(x / np.sqrt(2)))),
}


class Dense:
    """A dense layer behind the pooling: ``activation(x W^T + b)``.

    Parameters
    ----------
    folder : Path
        Holds ``config.json`` and ``model.safetensors``.

    Raises
    ------
    ValueError
        For weights that aren't in safetensors format, or an unknown activation.
    """

    def __init__(self, folder):
        config = read_json(folder / "config.json")
        name = config.get("activation_function", "torch.nn.Tanh").rpartition(".")[2]
        path = folder / "model.safetensors"
        if name not in ACTIVATIONS or not path.is_file():
            what = f"the activation {name!r}" if path.is_file() else "no safetensors"
            raise ValueError(
                f"The dense layer in {folder} must have its weights in {path.name} "
                f"and an activation among {sorted(ACTIVATIONS)}. Got {what} instead. "
                "Choose a pooling other than 'auto' to use the hidden states without "
                "it."
            )
        weights = _read_weights(path)
        self._activation = ACTIVATIONS[name]
        self._weight = weights["linear.weight"]  # (out, in)
        self._bias = weights.get("linear.bias", np.float32(0))
        self._residual = None
        if config.get("use_residual"):
            self._residual = weights.get("residual.weight", np.eye(len(self._weight)))
            self._residual = self._residual.astype(np.float32)

    @property
    def width(self):
        """Features that come out."""
        return len(self._weight)

    def __call__(self, vectors):
        """Apply the layer to vectors of shape (n_texts, in)."""
        out = self._activation(row_products(vectors, self._weight.T) + self._bias)
        if self._residual is None:
            return out
        return out + row_products(vectors, self._residual.T)


def _read_weights(path):
    """The tensors of a safetensors file as float32, whatever floats are stored."""
    from safetensors import deserialize

    return {
        name: _as_float32(tensor["dtype"], bytes(tensor["data"])).reshape(
            tensor["shape"]
        )
        for name, tensor in deserialize(path.read_bytes())
    }


def _as_float32(dtype, data):
    if dtype not in FLOATS and dtype != "BF16":
        raise ValueError(
            "The weights of a dense layer must be floats of 16, 32 or 64 bits. Got "
            f"{dtype} instead."
        )
    if dtype == "BF16":  # numpy has none: the upper half of a float32
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    return np.frombuffer(data, FLOATS[dtype]).astype(np.float32)
