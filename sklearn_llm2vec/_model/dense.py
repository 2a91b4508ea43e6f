"""What comes behind the pooling: dense layers and unit lengths that a folder declares."""

import numpy as np
from scipy.special import erf, expit

from sklearn_llm2vec._common.rowwise import row_products, unit_length
from sklearn_llm2vec._model.damage import blamed_on
from sklearn_llm2vec._model.files import entry, read_bytes, read_json

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
        for step in self._steps:
            if isinstance(step, Dense):
                step.check_takes(hidden_size)
                hidden_size = step.width
        return len(range(hidden_size)[: self._stop])

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
        said = entry(config, "activation_function", str, folder / "config.json")
        name = (said or "torch.nn.Tanh").rpartition(".")[2]
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
        self._folder = folder
        self._activation = ACTIVATIONS[name]
        self._weight = weights.get("linear.weight", np.zeros(0))  # (out, in)
        self._bias = weights.get("linear.bias", np.float32(0))
        self._residual = None
        if config.get("use_residual"):
            # Without a matrix for it, the input is added if it has the same width.
            square = self._weight.shape == 2 * self._weight.shape[:1]
            unit = (
                np.eye(len(self._weight), dtype=np.float32) if square else np.zeros(0)
            )
            self._residual = weights.get("residual.weight", unit)

        self._check_shapes()

    def _check_shapes(self):
        bias, residual = self._bias, self._residual
        if (
            self._weight.ndim != 2
            or bias.shape not in ((), self._weight.shape[:1])
            or (residual is not None and residual.shape != self._weight.shape)
        ):
            raise ValueError(
                f"The dense layer in {self._folder} must have a matrix 'linear.weight' "
                "and other tensors of matching shapes. Got other names or shapes: copy "
                "or download the model again."
            )

    def check_takes(self, n_features):
        """Raise unless the layer accepts this number of features."""
        if self._weight.shape[1] != n_features:
            raise ValueError(
                f"The dense layer in {self._folder} must accept the {n_features} "
                "features of the step before it. Got a matrix of shape "
                f"{self._weight.shape}: copy or download the model again."
            )

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

    with blamed_on(path, "be a whole safetensors file"):
        tensors = deserialize(read_bytes(path))
    return {
        name: _as_float32(tensor["dtype"], bytes(tensor["data"])).reshape(
            tensor["shape"]
        )
        for name, tensor in tensors
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
