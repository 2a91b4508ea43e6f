"""Token Prepending: what a decoder knows at a prompt's end is put before the text.

A placeholder token stands in front of the text; before each layer from `start` on, up to
`exit`, its state is replaced by that of the last token, so that the text's tokens can see
a summary of what follows them (Fu et al., "Token Prepending: A Training-Free Approach for
Eliciting Better Sentence Embeddings from LLMs", 2412.11556).
"""

import torch

from sklearn_llm2vec._network.layers import EMBEDDINGS

# Any token of any vocabulary: its embedding is replaced by the vocabulary's mean.
PLACEHOLDER = 0
EMBEDDINGS_AT_A_TIME = 8192


class TokenPrepending:
    """The edit of the states, for one network.

    Parameters
    ----------
    network : transformers model
    start, exit : int
        The placeholder is replaced before the layers ``start, ..., exit - 1``, counted
        from 0.
    """

    def __init__(self, network, start, exit):
        self.start, self.exit = start, exit
        self._mean = _mean_embedding(network)  # (hidden,)

    def at(self, positions):
        """The edit for one batch, as `HiddenStates` takes it.

        Parameters
        ----------
        positions : int tensor of shape (batch,)
            Place of the placeholder in each row.
        """
        rows = torch.arange(len(positions), device=positions.device)

        def edit(k, states):
            # states: (batch, tokens, hidden), the embeddings or the input of layer k
            if k != EMBEDDINGS and not self.start <= k < self.exit:
                return states
            states = states.clone()
            if k == EMBEDDINGS:
                # Here and not before layer 0: what the network itself does to embeddings
                # (BLOOM norms them, GPT-2 adds positions) it does to the placeholder's.
                states[rows, positions] = self._mean.to(states.dtype)
            else:
                states[rows, positions] = states[:, -1].clone()
            return states

        return edit


@torch.inference_mode()
def _mean_embedding(network):
    """The mean of the vocabulary's embeddings, which the placeholder is given.

    The paper's code gives its new token the random vector of a new row of the matrix; the
    mean is what such a row is drawn around today, and needs no seed.
    """
    embed = network.get_input_embeddings()
    n_tokens = embed.weight.shape[0]
    total = 0.0
    for start in range(0, n_tokens, EMBEDDINGS_AT_A_TIME):
        stop = min(start + EMBEDDINGS_AT_A_TIME, n_tokens)
        ids = torch.arange(start, stop, device=embed.weight.device)
        total = total + embed(ids).double().sum(0)
    return (total / n_tokens).float()  # (hidden,)
