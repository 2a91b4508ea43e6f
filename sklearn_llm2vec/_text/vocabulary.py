"""Tokens that a tokenizer makes, but that its model has no embedding for."""


def check_known(ids, n_known, tokenizer, text):
    """Raise when a row has a token that is beyond the model's embedding matrix.

    Parameters
    ----------
    ids : list of int
    n_known : int or None
        Rows of the matrix; None where it isn't known.
    tokenizer : transformers tokenizer
    text : str or tuple of str
        For the message.

    Raises
    ------
    ValueError
    """
    if n_known is None or max(ids, default=0) < n_known:
        return
    unknown = next(i for i in ids if i >= n_known)
    token = tokenizer.convert_ids_to_tokens(unknown)
    begin = (text if isinstance(text, str) else "; ".join(text))[:40]
    raise ValueError(
        "The model's vocabulary must contain every token of a text. Got the token "
        f"{token!r} with the id {unknown}, token {ids.index(unknown)} of the text "
        f"that begins with {begin!r}, but the embedding matrix has {n_known} rows. "
        "The tokenizer belongs to another model, or tokens were added to it but not "
        "to the model: use the model's own tokenizer, or add these rows to the "
        "matrix with resize_token_embeddings(len(tokenizer)), and train them."
    )
