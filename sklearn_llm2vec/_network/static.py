"""A network without layers: each token has one vector, whatever stands around it.

It looks like a network of transformers with a single hidden state, the embeddings, so
that batches, poolings and the cache treat static models as they treat others.
"""

from types import SimpleNamespace

import torch
from transformers import PretrainedConfig


class StaticNetwork(torch.nn.Module):
    """The vectors of a vocabulary.

    Parameters
    ----------
    vectors : float tensor of shape (tokens, hidden)

    Notes
    -----
    Behind the last token there is one more, whose vector is zero: a text without a token
    that the model knows consists of it (`StaticTokenizer.nothing`).
    """

    def __init__(self, vectors):
        super().__init__()
        n_tokens, width = vectors.shape
        table = vectors.new_zeros(n_tokens + 1, width)
        table[:n_tokens] = vectors
        self.table = torch.nn.Embedding.from_pretrained(table)
        self.config = PretrainedConfig(hidden_size=width, num_hidden_layers=0)

    @property
    def dtype(self):
        """Of the vectors."""
        return self.table.weight.dtype

    def get_input_embeddings(self):
        """What has the vectors of the vocabulary as its ``weight``."""
        return SimpleNamespace(weight=self.table.weight[:-1])

    def forward(self, input_ids, attention_mask=None, output_hidden_states=None):
        """Vectors of tokens; a mask changes none."""
        states = self.table(input_ids)  # (batch, tokens, hidden)
        return SimpleNamespace(hidden_states=(states,), last_hidden_state=states)
