"""Blocks: what comes out of an encoder, be it a model in this process or a server.

A file of its own because the client of a server needs no torch.
"""

from dataclasses import dataclass

import numpy as np


@dataclass
class Block:
    """Some finished texts.

    Attributes
    ----------
    rows : ndarray of int, shape (n_rows,)
        Positions in the texts that were given.
    cells : dict of (int, str) to float32 ndarray of shape (n_rows, hidden)
        One array for each (layer, pooling).
    n_tokens : int
        Tokens that went through the model for them.
    """

    rows: np.ndarray
    cells: dict
    n_tokens: int
