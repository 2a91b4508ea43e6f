"""Passes: rows of tokens go through the model, and their pooled states come back.

Which of several devices takes a pass, how long a row is made, and what happens when
memory runs out.
"""

import queue
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch

from sklearn_llm2vec._encode.batching import canonical_length, fill_rows
from sklearn_llm2vec._network.memory import (
    bytes_of_a_token,
    bytes_of_keys_and_values,
    hidden_size,
    is_out_of_memory,
    limit_tokens,
    most_tokens,
)
from sklearn_llm2vec._network.padding import hides_padding
from sklearn_llm2vec._network.pooling import (
    join_windows,
    pool_all,
    poolings_of_windows,
)
from sklearn_llm2vec._network.prefix import prefix_of
from sklearn_llm2vec._network.prepending import TokenPrepending
from sklearn_llm2vec._network.threads import in_parallel
from sklearn_llm2vec._network.varlen import varlen_of
from sklearn_llm2vec._text.tokens import rows_as_arrays

# Passes under way on an accelerator: while one is computed, the next one's ids are copied
# and its kernels put into the queue.
PASSES_A_DEVICE = 2


@dataclass
class Replica:
    """The model on one device, and what the prompts need of it there."""

    model: object
    prepending: TokenPrepending | None
    prefix: object


class Passes:
    """Runs a model's passes on one or more devices.

    Parameters
    ----------
    models : list of LoadedModel
        The same model on each device. Several passes run side by side: two a device, on
        a CPU one a torch thread.
    max_length : int
        Tokens of the longest row.
    batch_tokens : int or "auto"
        Most tokens of a pass. It shrinks when memory runs out.
    causal : bool
        Whether tokens see only those before them; padding behind them needs no mask then.
    token_prepending : tuple of (int, int) or None
    prefix_ids : tuple of int
        What rows that are "behind the prefix" begin with; empty for none.
    prefix_counted : tuple of (int, int)
        Start and stop of the tokens in it that count in all these rows.

    Attributes
    ----------
    batch_tokens : int
    ran_out : tuple of (int, int) or None
        Tokens of the last pass that the memory was too small for, and the most that a
        pass of such rows has had since.
    prefix_ids : tuple of int
        Empty where the model can't go on from a prefix.
    """

    def __init__(
        self,
        models,
        *,
        max_length,
        batch_tokens,
        causal,
        token_prepending=None,
        prefix_ids=(),
        prefix_counted=(),
    ):
        first = models[0]
        self.on_cpu = first.device.type == "cpu"
        self.n_at_once = PASSES_A_DEVICE * len(models)
        if self.on_cpu:
            self.n_at_once = torch.get_num_threads()
        self.max_length = max_length
        self.ran_out = None
        self._by_memory = batch_tokens == "auto" and not self.on_cpu
        if batch_tokens == "auto":
            batch_tokens = min(map(most_tokens, models))
        self.batch_tokens = int(batch_tokens)
        self._causal = causal
        self._states, self._varlen = first.states, None
        self._prepends = token_prepending is not None
        self._tail_rows = 1 if first.states.has_odd_widths else 0
        # Token Prepending takes the last token's state, wherever a row ends.
        self.pads = (
            not self.on_cpu
            and not self._prepends
            and all(hides_padding(model.states, causal) for model in models)
        )
        replicas = [Replica(model, None, None) for model in models]
        if self._prepends or prefix_ids:
            # In the pool: with the caller's thread count its sums would have other bits.
            replicas = list(
                in_parallel(
                    lambda model: _replica(model, token_prepending, prefix_ids),
                    models,
                    self.n_at_once,
                )
            )
        usable = all(one.prefix is not None for one in replicas)
        self.prefix_ids = tuple(prefix_ids) if usable else ()
        self._prefix_counted = tuple(prefix_counted)
        # A pass takes whichever device is free. All threads of a CPU share one copy.
        self._replicas = queue.SimpleQueue()
        n_rounds = -(-self.n_at_once // len(replicas))
        for replica in replicas * n_rounds:
            self._replicas.put(replica)

    def length(self, row, behind):
        """Tokens that a row has in a pass: of the row alone, whatever is beside it."""
        start = len(self.prefix_ids) if behind else 0
        n = len(row.ids) - start
        # No longer than the longest row: the model may have no positions for more.
        return min(canonical_length(n), self.max_length - start) if self.pads else n

    def cost(self, length, behind, n_cells):
        """What a row takes of `batch_tokens`: its tokens.

        Where those follow from the free memory, also what else it keeps there: keys and
        values for all layers behind a prefix, and the vectors of many cells.
        """
        if not self._by_memory:
            return length
        more = 2 * n_cells * 4 * hidden_size(self._states.network)
        if behind:
            n_tokens = len(self.prefix_ids) + length
            more += n_tokens * bytes_of_keys_and_values(self._states)
        return length + more // bytes_of_a_token(self._states)

    def varlen(self, n_tokens):
        """What takes rows of several lengths in one pass, or None.

        On an accelerator padding serves better, and Token Prepending and prefixes know
        rows of one length only.

        Parameters
        ----------
        n_tokens : int
            Of the rows that wait.
        """
        if not self.on_cpu or self.pads or self._prepends:
            return None
        self._varlen = varlen_of(self._states, n_tokens)
        return self._varlen

    def __call__(self, rows, behind, layers, poolings):
        """Run rows; where memory runs out, in smaller parts.

        Parameters
        ----------
        rows : list of Row
            Of one length; or of several that `varlen` takes and not behind the prefix,
            equal lengths side by side.
        behind : bool
            Whether they begin with the prefix, which needn't go through the model again.
        layers : list of int
        poolings : list of str

        Returns
        -------
        cells : dict of (int, str) to float32 ndarray of shape (n_rows, hidden)
        n_tokens : int
            That went through the model, without padding and repeats.
        """
        start = len(self.prefix_ids) if behind else 0
        n_tokens = sum(len(row.ids) - start for row in rows)
        n_cells = len(layers) * len(poolings)

        def cost(part):
            return sum(
                self.cost(self.length(row, behind), behind, n_cells) for row in part
            )

        # Parts stay in order: halves are put back in front, and the cells are joined. One
        # row is tried whatever it costs, as there is nothing smaller.
        waiting, made = deque([rows]), []
        with self._replica() as replica:
            while waiting:
                part = waiting.popleft()
                half = max(1, len(part) // 2)
                cells = None
                # The budget may have shrunk since the batch was made.
                if len(part) == 1 or cost(part) <= self.batch_tokens:
                    cells = self._attempt(replica, part, behind, layers, poolings)
                    if cells is None:
                        fewer = part[:half]
                        self._shrink(replica.model, part, fewer, behind, cost(fewer))
                if cells is None:
                    waiting.extendleft((part[half:], part[:half]))
                else:
                    made.append(cells)
        return _joined(made), n_tokens

    def _attempt(self, replica, rows, behind, layers, poolings):
        """The cells of some rows, or None when the memory is too small for them."""
        try:
            return self._run(replica, rows, behind, layers, poolings)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if len(rows) == 1:
                raise MemoryError(
                    f"The memory of {replica.model.device} must have room for one "
                    f"text of {self.length(rows[0], behind)} tokens. It ran out: "
                    f"{error}. Lower 'max_length', or choose a smaller model, a lower "
                    "layer or another device."
                ) from error
        return None

    def _shrink(self, model, rows, fewer, behind, cost):
        # Out of the handler: there the error still held the tensors of the pass.
        n_tokens, now = (
            sum(self.length(row, behind) for row in some) for some in (rows, fewer)
        )
        if self.ran_out is None or now < self.ran_out[1]:
            self.ran_out = n_tokens, now
        self.batch_tokens = min(self.batch_tokens, cost)
        limit_tokens(model, self.batch_tokens)
        if not self.on_cpu:
            getattr(torch, model.device.type).empty_cache()

    @contextmanager
    def _replica(self):
        replica = self._replicas.get()
        try:
            yield replica
        finally:
            self._replicas.put(replica)

    def _arrays(self, rows, behind, length):
        """Ids, counted tokens, places of the texts and lengths, behind the prefix.

        Returns
        -------
        ids : ndarray of int, shape (n_rows, length)
        counted : ndarray of bool, shape (n_rows, length)
        text_at, lengths : ndarray of int, shape (n_rows,)
        """
        start = len(self.prefix_ids) if behind else 0
        ids, counted, lengths = rows_as_arrays(rows, length, start=start)
        text_at = np.array([row.text_at - start for row in rows])
        return ids, counted, text_at, lengths

    def _run(self, replica, rows, behind, layers, poolings):
        """One pass: cells of shape (rows, hidden) as float32 arrays."""
        of_a_length = [
            (length, list(some))
            for length, some in groupby(rows, lambda row: self.length(row, behind))
        ]
        length, last = of_a_length[-1]
        if self.on_cpu:
            # Repeats of the last row: a pass has enough tokens for the kernels that
            # larger ones take, and none of the given rows stands at a tensor's end.
            n_tokens = sum(n * len(some) for n, some in of_a_length)
            last += [last[-1]] * (fill_rows(n_tokens, length) + self._tail_rows)
        run = self._run_one_length if len(of_a_length) == 1 else self._run_varlen
        joins = behind and bool(self._prefix_counted)
        with torch.inference_mode():
            arrays = [
                self._arrays(some, behind, length) for length, some in of_a_length
            ]
            wanted = poolings_of_windows(poolings) if joins else poolings
            pooled = run(replica, arrays, behind, layers, wanted)
            cells = _on_host(pooled, len(rows))
            if not behind:
                return cells
            n_counted = arrays[0][1].sum(1)[: len(rows)]
            return self._with_prefix(replica.prefix, cells, n_counted, layers, poolings)

    def _run_one_length(self, replica, arrays, behind, layers, poolings):
        device = replica.model.device
        ids, counted, text_at, lengths = (
            _on_device(array, device) for array in arrays[0]
        )  # (batch, tokens) twice, (batch,) twice
        more = {}
        if behind:
            more["past"] = replica.prefix.cache(len(ids))
        if replica.prepending is not None:
            more["edit"] = replica.prepending.at(text_at)
        if self.pads and not self._causal:
            places = torch.arange(ids.shape[1], device=device)
            more["mask"] = places < lengths[:, None]  # (batch, tokens)
        ends = lengths - 1 if self.pads else None
        return replica.model.states(
            ids,
            layers,
            lambda states: pool_all(states, counted, poolings, ends),
            **more,
        )

    def _with_prefix(self, prefix, cells, n_counted, layers, poolings):
        """Cells of whole rows, of those of what stands behind the prefix.

        Prefix and rest are joined as two windows of one text are.
        """
        counted = self._prefix_counted
        n_before = np.full_like(n_counted, sum(stop - start for start, stop in counted))
        before = prefix.pooled(counted)
        made = {}
        for layer in layers:
            both = {
                name: np.stack(np.broadcast_arrays(before[layer][name], vectors))
                for (its_layer, name), vectors in cells.items()
                if its_layer == layer and name in before[layer]
            }  # (2, rows, hidden) by pooling
            for name in poolings:
                made[layer, name] = cells[layer, name]
                if name in both:
                    counts = n_before, n_counted
                    made[layer, name] = join_windows(both, counts, name)
        return made

    def _run_varlen(self, replica, arrays, behind, layers, poolings):
        ids, counted = (
            [torch.from_numpy(array) for array in some]
            for some in list(zip(*arrays, strict=True))[:2]
        )  # (rows, tokens) for each length

        def pool(states):
            parts = [
                pool_all(some, its, poolings)
                for some, its in zip(states, counted, strict=True)
            ]
            return {
                name: torch.cat([part[name] for part in parts]) for name in poolings
            }

        return self._varlen(ids, layers, pool)


def _replica(model, token_prepending, prefix_ids):
    prepending = None
    if token_prepending is not None:
        prepending = TokenPrepending(model.states.network, *token_prepending)
    prefix = prefix_of(model.states, tuple(prefix_ids)) if prefix_ids else None
    return Replica(model, prepending, prefix)


def _on_device(array, device):
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        # From pinned memory: copied while the device works on the pass before.
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _on_host(pooled, n_rows):
    """Cells as arrays; one copy from the device, which would wait before each."""
    cells = [
        (layer, pooling)
        for layer, by_pooling in pooled.items()
        for pooling in by_pooling
    ]
    together = torch.stack([pooled[layer][pooling] for layer, pooling in cells])
    arrays = together[:, :n_rows].cpu().numpy()  # (cells, rows, hidden)
    return dict(zip(cells, arrays, strict=True))


def _joined(parts):
    if len(parts) == 1:
        return parts[0]
    return {cell: np.concatenate([one[cell] for one in parts]) for cell in parts[0]}
