"""Windows: how much of a text fits into a row, and how a longer one is cut or split.

What stands around a text in its prompt stands around each of its windows.
"""

from sklearn_llm2vec._common.checks import refused


def check_room(measured, *, max_length, n_added, chunk_overlap, template):
    """Refuse what leaves no room for a text in its prompt.

    Parameters
    ----------
    measured : dict
        As `measure_prompt` returns it.
    max_length, n_added, chunk_overlap, template
        As `TextTokenizer` takes them.

    Raises
    ------
    ValueError
        When no text fits, a window brings nothing new, or there is no one place for the
        placeholder of Token Prepending.
    """
    n_fields = measured["n_fields"]
    if n_added and (n_fields > 1 or not measured["begins"]):
        raise ValueError(
            "The 'token_prepending' parameter of LLMEmbeddingTransformer must be "
            "None unless the prompt has words before a single text, which this "
            f"model's own prompt ({template!r}) doesn't have."
        )
    # At least one token of each field, and one that isn't in the window before.
    taken = measured["needed"] + n_added
    room = (max_length - taken) // n_fields
    if room < 1:
        n = taken + n_fields - 1
        what = (
            f"the {n} special tokens that this model's tokenizer adds to a text"
            if template is None
            else f"the {n} tokens of the template itself"
        )
        raise refused("max_length", f"greater than {what}", max_length)
    if chunk_overlap is not None and chunk_overlap >= room:
        raise refused(
            "chunk_overlap",
            f"less than the {room} tokens of text that a window of {max_length} tokens "
            "holds",
            chunk_overlap,
        )


def split_fields(spans, counted, limit, chunk_overlap):
    """Cut or split the fields of a prompt.

    Parameters
    ----------
    spans : list of (int, int)
        For each field where its tokens start and stop.
    counted : sequence of bool
        For each field whether its tokens count.
    limit : int
        Most tokens of a field in a window, as `fitting_length` finds it.
    chunk_overlap : int or None
        Tokens that two windows share; None makes one window.

    Returns
    -------
    list of list of (int, int)
        For each window a part of each field. Fields that fit stay whole in each window;
        of longer ones each window holds the next part, of one length.

    Examples
    --------
    >>> from sklearn_llm2vec._text.windows import split_fields
    >>> split_fields([(1, 9)], [True], 3, chunk_overlap=1)
    [[(1, 4)], [(3, 6)], [(5, 8)], [(7, 9)]]
    """
    step, n_windows = limit, 1
    if chunk_overlap is not None:
        step = max(1, limit - chunk_overlap)
        # A copy that doesn't count needs no window of its own.
        longest = max(
            stop - start
            for (start, stop), counts in zip(spans, counted, strict=True)
            if counts
        )
        n_windows += max(0, -(-(longest - limit) // step))
    return [
        [
            (start, stop)
            if stop - start <= limit
            else (min(start + w * step, stop), min(start + w * step + limit, stop))
            for start, stop in spans
        ]
        for w in range(n_windows)
    ]


def fitting_length(lengths, room):
    """The greatest length such that all lengths, cut to it, fit into `room`.

    Long fields are cut first: short ones lose nothing until all have the same length.

    Examples
    --------
    >>> from sklearn_llm2vec._text.windows import fitting_length
    >>> fitting_length([100], 30), fitting_length([5, 100, 90], 45)
    (30, 20)
    """
    left = len(lengths)
    for length in sorted(lengths):
        if length * left > room:
            break
        room -= length
        left -= 1
    return max(lengths, default=0) if left == 0 else room // left
