"""Tokens of static models: they are looked up, and what isn't known may be left out."""

import dataclasses
from itertools import accumulate


class StaticTokenizer:
    """A tokenizer of the package ``tokenizers``, with the rules of a static model.

    It is called as `TextTokenizer` calls those of transformers, and adds no special
    tokens: the packages that make static models don't, either.

    Parameters
    ----------
    backend : tokenizers.Tokenizer
    n_known : int
        Tokens that the model has a vector for.
    unknown : int or None
        The id of the token for what the vocabulary lacks, if such tokens are left out.
    word_length : int or None
        Characters of a text that are read for each token of `max_length`; None for all.
    truncation_side : {"right", "left"}
        The side on which long texts are cut.

    Attributes
    ----------
    nothing : int
        The id that stands for a text of which no token is left; its vector is zero.
    """

    is_fast = True
    all_special_ids = ()

    def __init__(
        self,
        backend,
        *,
        n_known,
        unknown=None,
        word_length=None,
        truncation_side="right",
    ):
        backend.no_truncation()
        backend.no_padding()
        self.backend_tokenizer = backend
        self.nothing = n_known
        self.truncation_side = truncation_side
        self._unknown, self._word_length = unknown, word_length

    def __call__(self, texts, **asked):
        """Ids of a text or of several, and what else is asked for."""
        if isinstance(texts, str):
            return {"input_ids": self([texts])["input_ids"][0]}
        backend = self.backend_tokenizer
        needs_offsets = asked.get("return_offsets_mapping")
        encode = backend.encode_batch if needs_offsets else backend.encode_batch_fast
        found = encode(texts, add_special_tokens=False)
        made = {"input_ids": [one.ids for one in found]}
        if needs_offsets:
            made["offset_mapping"] = [one.offsets for one in found]
        if asked.get("return_special_tokens_mask"):
            made["special_tokens_mask"] = [[0] * len(ids) for ids in made["input_ids"]]
        return made

    def get_added_vocab(self):
        """Tokens beside those of the vocabulary, and their ids."""
        added = self.backend_tokenizer.get_added_tokens_decoder()
        return {str(token): place for place, token in added.items()}

    def convert_ids_to_tokens(self, place):
        """The token with an id."""
        return self.backend_tokenizer.id_to_token(place)

    def shortened(self, texts, max_length):
        """Texts without the characters behind those that are read.

        Parameters
        ----------
        texts : list of str, or of tuple of str
        max_length : int

        Returns
        -------
        list
            `texts` itself where all are read.
        """
        if self._word_length is None:
            return texts
        most = max_length * self._word_length
        return [
            text[:most] if isinstance(text, str) else tuple(one[:most] for one in text)
            for text in texts
        ]

    def known(self, rows):
        """The rows of a text without unknown tokens.

        Rows without a token that counts are left out. If all are, the text is what stands
        around it, or nothing.

        Parameters
        ----------
        rows : list of Row

        Returns
        -------
        list of Row, at least one
        """
        rows = [_without(row, self._unknown) for row in rows]
        counted = [row for row in rows if row.n_counted]
        if counted:
            return counted
        ids = rows[0].ids or [self.nothing]
        return [dataclasses.replace(rows[0], ids=ids, counted=[(0, len(ids))])]


def _without(row, unknown):
    """A row without the tokens of an id."""
    if unknown is None or unknown not in row.ids:
        return row
    # Where each token moves to: the number of those before it that stay.
    place = [0, *accumulate(one != unknown for one in row.ids)]
    return dataclasses.replace(
        row,
        ids=[one for one in row.ids if one != unknown],
        counted=[(place[start], place[stop]) for start, stop in row.counted],
        text_at=place[row.text_at],
    )
