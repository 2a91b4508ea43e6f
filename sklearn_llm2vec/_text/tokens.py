"""Tokens: each text becomes one or more rows of ids, and which of them count.

A prompt is tokenized as a whole, because tokens don't end where a text does; the tokens
of the text are found by their character offsets. Longer texts are cut, or split into
windows that each stand in the whole prompt.
"""

import sys
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

import numpy as np

from sklearn_llm2vec._common.people import printable
from sklearn_llm2vec._text.chat import chat_template
from sklearn_llm2vec._text.llm2vec import most_tokens, shortened
from sklearn_llm2vec._text.static import StaticTokenizer
from sklearn_llm2vec._text.templates import parse_template
from sklearn_llm2vec._text.vocabulary import check_known
from sklearn_llm2vec._text.windows import check_room, fitting_length, split_fields

PLAIN = parse_template("{text}")
# A prompt's head with fewer tokens isn't worth a cache of keys and values.
MIN_PREFIX = 4
# Texts that tokenizers join to a prompt's words in different ways.
PROBES = ("a", " a", "1", ".", '"', "é", "中")


@dataclass(slots=True)
class Row:
    """What goes through the model as one row: a text in its prompt, or a window of it.

    Attributes
    ----------
    ids : list of int
    counted : list of (int, int)
        Start and stop of the tokens that count in mean, weighted_mean and max.
    text_at : int
        Place of the text's first token.
    """

    ids: list = field(repr=False)
    counted: list
    text_at: int

    @property
    def n_counted(self):
        """Number of tokens that count."""
        return sum(stop - start for start, stop in self.counted)


def rows_as_arrays(rows, length, *, padding=None, start=0):
    """Rows of several lengths as arrays of one, padded on the right.

    Parameters
    ----------
    rows : list of Row
    length : int
        Tokens of each row in the arrays, at least those of the longest.
    padding : int or None, default=None
        The id that stands behind a row. None is the row's own last one: a tokenizer's
        padding token may be one that the model doesn't have.
    start : int, default=0
        Tokens left out at the beginning of each row.

    Returns
    -------
    ids : ndarray of int, shape (n_rows, length)
    counted : ndarray of bool, shape (n_rows, length)
    lengths : ndarray of int, shape (n_rows,)
        Tokens of each row without padding.
    """
    ids = np.empty((len(rows), length), np.int64)
    counted = np.zeros(ids.shape, bool)
    lengths = np.array([len(row.ids) - start for row in rows])
    for row, n_tokens, its_ids, its_counted in zip(
        rows, lengths, ids, counted, strict=True
    ):
        its_ids[:n_tokens] = row.ids[start:]
        its_ids[n_tokens:] = row.ids[-1] if padding is None else padding
        for first, stop in row.counted:
            its_counted[max(0, first - start) : max(0, stop - start)] = True
    return ids, counted, lengths


class TextTokenizer:
    """Makes rows of texts, for one space.

    Parameters
    ----------
    tokenizer : transformers fast tokenizer or StaticTokenizer
    special_tokens : bool
        Whether the tokens that the tokenizer adds count.
    max_length : int
        Most tokens of a row. Of longer texts the tokenizer's ``truncation_side`` is cut
        off, which is the right one unless its files say otherwise.
    template : str or None
        "chat" is the tokenizer's own.
    counts : {"text", "prompt", "rest", "alone"}
        What counts in mean, weighted_mean and max. "text": the tokens that hold any of
        the texts. "prompt": all tokens, as in sentence-transformers. "rest": all but as
        many as the words before the first text have alone, as in sentence-transformers
        with ``include_prompt=False``; that is not always where the text begins, for a
        tokenizer may join its first letters to what stands before them. "alone": as many
        from the end as the text, with the words behind it, has alone, as in LLM2Vec's own
        code, which cuts long texts as well in a way of its own.
    chunk_overlap : int or None
        Tokens that two windows of a long text share; None cuts long texts.
    n_added : int
        Tokens that are put into each row afterward, and need room.
    n_known : int or None
        Rows of the model's embedding matrix: a token with a greater id is an error. None
        where no model is there.
    """

    def __init__(
        self,
        tokenizer,
        *,
        special_tokens,
        max_length,
        template=None,
        counts="text",
        chunk_overlap=None,
        n_added=0,
        n_known=None,
    ):
        self.tokenizer = tokenizer
        self._static = tokenizer if isinstance(tokenizer, StaticTokenizer) else None
        self._n_known = n_known
        self.special_tokens = special_tokens
        self.max_length = max_length
        self.chunk_overlap = chunk_overlap
        self.room = max_length - n_added
        self.template = self._template(template)
        self._plain = template is None
        self._counts = counts
        self._most_alone = most_tokens(max_length)
        self._cuts_at_start = getattr(tokenizer, "truncation_side", "") == "left"
        # A tokenizer cuts the whole prompt. So does LLM2Vec's code, and so it is done
        # where the beginning goes and no words stand behind the text. Otherwise the texts
        # are cut, and the words around them stay.
        loses_words = self._cuts_at_start and not self.template.literals[-1]
        self._cuts_prompts = chunk_overlap is None and (
            counts == "alone" or (loses_words and len(self.template.fields) == 1)
        )
        self._head, self._tail = self._special_tokens_around()
        self._n_left_out = self._tokens_of_prompt() if counts == "rest" else 0
        self.measured = self._measure()
        check_room(
            self.measured,
            max_length=max_length,
            n_added=n_added,
            chunk_overlap=chunk_overlap,
            template=template,
        )

    def __call__(self, texts):
        """Rows of texts.

        Parameters
        ----------
        texts : list of str, or of tuple of str
            Tuples hold a value for each column of the template.

        Returns
        -------
        list of list of Row
            One row a text, but windows where a long text is split.
        n_cut : int
            Texts of which something was cut off.
        """
        made, n_cut = [], 0
        prepared, shorter, n_alone = self._prepared(texts)
        for text, (ids, spans), cut, n in zip(
            prepared, self._tokenized(prepared), shorter, n_alone, strict=True
        ):
            windows = [spans]
            if len(ids) > self.room:
                cut = self.chunk_overlap is None
                if self._cuts_prompts:
                    ids, windows[0] = self._cut(ids, spans)
                    spans = windows[0]
                else:
                    windows = self._windows(ids, spans)
            n_cut += cut
            n = n if len(windows) == 1 else None
            rows = [self._row(ids, spans, parts, n) for parts in windows]
            for row in rows:
                check_known(row.ids, self._n_known, self.tokenizer, text)
            made.append(rows if self._static is None else self._static.known(rows))
        return made, n_cut

    def count(self, texts):
        """Tokens of each text in its prompt, before any cut."""
        counts = [len(ids) for ids, _ in self._tokenized(texts)]
        if self._counts == "alone":
            # What a text itself can't have is left for the prompt, used or not.
            left = self.room - self._most_alone
            alone = self._n_alone(texts)
            counts = [max(n, m + left) for n, m in zip(counts, alone, strict=True)]
        if self._static is not None:
            # The tokens of a text that is cut by its characters may fit.
            _, shorter, _ = self._prepared(texts)
            counts = [
                max(n, self.room + 1) if cut else n
                for n, cut in zip(counts, shorter, strict=True)
            ]
        return counts

    def prefix(self):
        """Ids that all prompts begin with, whatever the text; () if too few to matter.

        The last token of the prompt's head is left out: it may be another one when a text
        follows. A row that begins otherwise all the same is for the caller to find.
        """
        head = self.template.literals[0]
        ids = self._encode([head])["input_ids"][0]
        ids = ids[: len(ids) - self._tail][:-1]
        check_known(ids, self._n_known, self.tokenizer, head)
        return tuple(ids) if len(ids) >= MIN_PREFIX else ()

    def counted_in_prefix(self, n_tokens):
        """Which of the first tokens of a prompt count, if no text begins in them.

        Parameters
        ----------
        n_tokens : int

        Returns
        -------
        tuple of (int, int)
            Starts and stops.
        """
        text = (n_tokens, n_tokens + 1)
        places = [text] * len(self.template.fields)
        return before(self._counted(text[1] + self._tail, places, 1), n_tokens)

    # --- texts to ids ----------------------------------------------------------------

    def _encode(self, prompts, **options):
        return self._asked(
            prompts,
            add_special_tokens=self.template.adds_special_tokens,
            return_attention_mask=False,
            return_token_type_ids=False,
            **options,
        )

    def _asked(self, prompts, **options):
        """What the tokenizer makes of prompts."""
        try:
            return self.tokenizer(prompts, verbose=False, **options)
        except BaseException as error:
            # The error that a panic of Rust code raises isn't an Exception.
            if type(error).__name__ != "PanicException":
                raise
            raise ValueError(
                "The model's tokenizer must be able to split any text. It stopped with: "
                f"{printable(error, 300)}. The patterns in its tokenizer.json are too "
                "complex or damaged: copy or download the model again."
            ) from error

    def _prepared(self, texts):
        """Texts, whether each lost something, and for "alone" how many tokens count."""
        if self._static is not None and self.chunk_overlap is None:
            made = self._static.shortened(texts, self.max_length)
            shorter = [one != text for one, text in zip(made, texts, strict=True)]
            return made, shorter, [None] * len(texts)
        if self._counts != "alone":
            return texts, [False] * len(texts), [None] * len(texts)
        made, shorter = list(texts), [False] * len(texts)
        if self.chunk_overlap is None:
            for i, n in enumerate(self._n_alone(texts)):
                if n > self._most_alone:
                    made[i] = shortened(
                        texts[i],
                        lambda text: self._n_alone([text])[0],
                        self._most_alone,
                    )
                    shorter[i] = True
        behind = self.template.literals[-1]
        if behind:
            made = [text.rstrip() for text in made]
        return made, shorter, self._n_alone([text + behind for text in made])

    def _n_alone(self, texts):
        """Tokens of each text without special ones, at most those of a row."""
        encoded = self._asked(list(texts), add_special_tokens=False)
        return [min(len(ids), self.max_length) for ids in encoded["input_ids"]]

    def _tokenized(self, texts):
        """Yield (ids, spans): all tokens of a prompt, and where each field's are."""
        if self._plain:
            for ids in self._encode(list(texts))["input_ids"]:
                ids = ids or self._stand_in()
                yield ids, [(min(self._head, len(ids)), max(0, len(ids) - self._tail))]
            return
        rendered = [self.template.render(text) for text in texts]
        encoded = self._encode(
            [prompt for prompt, _ in rendered], return_offsets_mapping=True
        )
        for ids, offsets, (_, spans) in zip(
            encoded["input_ids"], encoded["offset_mapping"], rendered, strict=True
        ):
            yield ids, self._token_spans(offsets, spans)

    def _token_spans(self, offsets, spans):
        """For each span of characters the tokens that hold any of it; no token twice."""
        inside = offsets[self._head : len(offsets) - self._tail]
        starts = [start for start, _ in inside]
        stops = [stop for _, stop in inside]
        found, free = [], self._head
        for a, b in spans:
            first = max(free, self._head + bisect_right(stops, a))
            stop = max(first, self._head + bisect_left(starts, b)) if a < b else first
            found.append((first, stop))
            free = stop
        return found

    def _special_tokens_around(self):
        """How many tokens the tokenizer adds before and after each prompt."""
        mask = self._encode(["a"], return_special_tokens_mask=True)
        mask = mask["special_tokens_mask"][0]
        return _n_leading(mask), _n_leading(mask[::-1])

    def _tokens_of_prompt(self):
        """Tokens of what stands before the first text, as sentence-transformers has it.

        Special tokens count, except for one at the end. White space around the prompt
        doesn't: with many tokenizers the space before a word is part of that word's
        token. Version 5 did so, with which published models were scored. Version 6 keeps
        the space, and then leaves out the first token of each text.
        """
        head = self.template.literals[0].strip()
        if not head:
            return 0
        ids = self._encode([head])["input_ids"][0]
        return len(ids) - (bool(ids) and ids[-1] in self.tokenizer.all_special_ids)

    def _stand_in(self):
        """What stands for an empty text when the tokenizer adds nothing, as ids."""
        if self._static is not None:
            return []  # see `StaticTokenizer.known`
        for name in ("bos_token_id", "eos_token_id", "cls_token_id", "pad_token_id"):
            if getattr(self.tokenizer, name, None) is not None:
                return [getattr(self.tokenizer, name)]
        return [0]

    def _template(self, template):
        if template is None:
            return PLAIN
        if not self.tokenizer.is_fast:
            raise ValueError(
                "The 'template' parameter of LLMEmbeddingTransformer must be None "
                "for a model whose tokenizer can't tell the positions of its tokens "
                f"in a text. Got {template!r} with a {type(self.tokenizer).__name__} "
                "instead: use a model that has a tokenizer.json."
            )
        if template == "chat":
            return chat_template(self.tokenizer)
        return parse_template(template)

    def _measure(self):
        """What `check_room` has to know of the prompt; see `measure_prompt`."""
        n_fields = len(self.template.fields)
        columns = self.template.columns
        probes = ["", *PROBES]
        if columns is not None:
            probes = [(probe,) * len(columns) for probe in probes]
        around = [
            len(ids) - sum(stop - start for start, stop in spans)
            for ids, spans in self._tokenized(probes)
        ]
        # Without a text its place is free: what stands around it may be as many more.
        needed = max(around[0] - n_fields, *around[1:])
        begins = bool(self.template.literals[0])
        return {"needed": needed, "n_fields": n_fields, "begins": begins}

    def _windows(self, ids, spans):
        """For each window of a prompt that is too long which part of each field."""
        lengths = [stop - start for start, stop in spans]
        around = len(ids) - sum(lengths)
        limit = fitting_length(lengths, self.room - around)
        if limit < 1:
            raise ValueError(
                "The 'max_length' parameter of LLMEmbeddingTransformer must leave "
                f"room for each text. Got {self.max_length}, but what surrounds a "
                f"text takes {around} tokens."
            )
        if self._cuts_at_start and self.chunk_overlap is None:
            return [[(max(start, stop - limit), stop) for start, stop in spans]]
        return split_fields(spans, self.template.counted, limit, self.chunk_overlap)

    def _cut(self, ids, spans):
        """A whole prompt without what is too much, as its tokenizer cuts it."""
        n = len(ids) - self.room
        first = self._head if self._cuts_at_start else len(ids) - self._tail - n

        def moved(place):
            return max(min(place, first), place - n)

        spans = [(moved(start), moved(stop)) for start, stop in spans]
        return ids[:first] + ids[first + n :], spans

    def _row(self, ids, spans, parts, n_alone):
        """The row with `parts` of its fields in place of all that `spans` cover."""
        made, places, at = [], [], 0
        for (start, stop), (a, b) in zip(spans, parts, strict=True):
            made += ids[at:start]
            places.append((len(made), len(made) + b - a))
            made += ids[a:b]
            at = stop
        made += ids[at:]
        return Row(made, self._counted(len(made), places, n_alone), places[0][0])

    def _counted(self, n_tokens, places, n_alone):
        head, stop = self._head, n_tokens - self._tail
        if self._counts == "alone":
            # Without a token of its own a text is all that there is.
            start = (
                places[0][0] if n_alone is None else n_tokens - (n_alone or n_tokens)
            )
            return [(max(0, start), n_tokens)]
        if self._counts == "rest":
            # What is left out begins with the special tokens in front. Where it would
            # be everything (a short word that has joined the prompt's last space), the
            # text's own tokens are left.
            stop = n_tokens if self.special_tokens else stop
            starts = self._n_left_out, places[0][0], 0
            return [(next(start for start in starts if start < stop), stop)]
        if self._counts == "prompt":
            inside = [(head, stop)]
        else:
            counted = zip(places, self.template.counted, strict=True)
            inside = [place for place, counts in counted if counts]
        inside = [(first, last) for first, last in inside if first < last]
        if not inside:
            # A text without a token of its own ("" to a BERT) is what stands around it.
            return [(0, n_tokens)]
        if self.special_tokens:
            inside = [(0, head), *inside, (stop, n_tokens)]
        return [(first, last) for first, last in inside if first < last]


def before(counted, n_tokens):
    """Which of the first tokens count.

    Examples
    --------
    >>> from sklearn_llm2vec._text.tokens import before
    >>> before([(0, 1), (4, 9), (11, 12)], 6)
    ((0, 1), (4, 6))
    """
    return tuple((a, min(b, n_tokens)) for a, b in counted if a < n_tokens)


def measure_prompt(tokenizer, template, counts):
    """Tokens that a prompt needs beside its texts, for `check_room`.

    Parameters
    ----------
    tokenizer, template, counts
        As `TextTokenizer` takes them.

    Returns
    -------
    dict
        ``needed``, the tokens; ``n_fields``, how many texts the prompt holds;
        ``begins``, whether something stands before the first one.
    """
    return TextTokenizer(
        tokenizer,
        special_tokens=False,
        max_length=sys.maxsize,
        template=template,
        counts=counts,
    ).measured


def _n_leading(special):
    """Number of ones at the start."""
    return next((i for i, value in enumerate(special) if not value), len(special))
