"""What comes behind the pooling: dense layers and unit lengths that a folder declares."""

import numpy as np
from scipy.special import erf, expit

from sklearn_llm2vec._common.rowwise import row_by_row, unit_length
from sklearn_llm2vec._model.files import read_json

DENSE_FILES = ("config.json", "model.safetensors")


class Behind:
    """All that a folder declares behind its pooling, in its order.

    Parameters
    ----------
    declared : Declared

    Raises
    ------
    ValueError
        For a dense layer that can't be followed.
    """

    def __init__(self, declared):
        self._steps = [
            unit_length if folder is None else Dense(folder)
            for folder in declared.behind
        ]
        self._stop = declared.truncate_dim

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
                f"The dense layer in {folder} must have its weights in {path.name} and "
                f"an activation among {sorted(ACTIVATIONS)}. Got {what} instead. Choose "
                "a pooling other than 'auto' to take the hidden states without it."
            )
        from safetensors.numpy import load_file

        weights = {
            key: value.astype(np.float32) for key, value in load_file(path).items()
        }
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

        def layer(block):
            out = self._activation(block @ self._weight.T + self._bias)
            return out if self._residual is None else out + block @ self._residual.T

        return row_by_row(layer, vectors, self.width)
