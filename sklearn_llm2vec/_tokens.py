"""Tokens: each text becomes one or more rows of ids, and which of them count.

A prompt is tokenised as a whole, because tokens don't end where a text does; the tokens
of the text are found by their character offsets. Longer texts are cut, or split into
windows that each stand in the whole prompt. This file doesn't know models.
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

from sklearn_llm2vec._templates import parse_template

__all__ = ["Row", "TextTokenizer", "fitting_length"]

PLAIN = parse_template("{text}")
# A prompt's head with fewer tokens isn't worth a cache of keys and values.
MIN_PREFIX = 4
# Stands for the text while a chat template is rendered.
MARK = "\ue000"


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


class TextTokenizer:
    """Makes rows of texts, for one space.

    Parameters
    ----------
    tokenizer : transformers fast tokenizer
    special_tokens : bool
        Whether the tokens that the tokenizer adds count.
    max_length : int
        Most tokens of a row.
    template : str or None
        "chat" is the tokenizer's own.
    counts : {"text", "prompt", "behind"}
        As in `Template`.
    chunk_overlap : int or None
        Tokens that two windows of a long text share; None cuts long texts.
    n_added : int
        Tokens that are put into each row afterwards, and need room.
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
    ):
        self.tokenizer = tokenizer
        self.special_tokens = special_tokens
        self.max_length = max_length
        self.chunk_overlap = chunk_overlap
        self._room = max_length - n_added
        self.template = self._template(template, counts)
        self._plain = template is None
        self._head, self._tail = self._special_tokens_around()
        self._check_room()

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
        for ids, spans in self._tokenized(texts):
            cut = len(ids) > self._room
            windows = self._windows(ids, spans) if cut else [spans]
            if self.chunk_overlap is None:
                n_cut += cut
            made.append([self._row(ids, spans, parts) for parts in windows])
        return made, n_cut

    def count(self, texts):
        """Tokens of each text in its prompt, before any cut."""
        return [len(ids) for ids, _ in self._tokenized(texts)]

    def prefix(self):
        """Ids that all prompts begin with, whatever the text; () if too few to matter.

        The last token of the prompt's head is left out: it may be another one when a text
        follows. A row that begins otherwise all the same is for the caller to find.
        """
        head = self.template.literals[0]
        ids = self._encode([head])["input_ids"][0]
        ids = ids[: len(ids) - self._tail][:-1]
        return tuple(ids) if len(ids) >= MIN_PREFIX else ()

    # --- texts to ids ----------------------------------------------------------------

    def _encode(self, prompts, **options):
        return self.tokenizer(
            prompts,
            add_special_tokens=self.template.adds_special_tokens,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
            **options,
        )

    def _tokenized(self, texts):
        """Yield (ids, spans): all tokens of a prompt, and where each field's are."""
        if self._plain:
            for ids in self._encode(list(texts))["input_ids"]:
                ids = ids or [self._stand_in()]
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

    def _stand_in(self):
        """The token that stands for an empty text when the tokenizer adds none."""
        for name in ("bos_token_id", "eos_token_id", "cls_token_id", "pad_token_id"):
            if getattr(self.tokenizer, name, None) is not None:
                return getattr(self.tokenizer, name)
        return 0

    def _template(self, template, counts):
        if template is None:
            return PLAIN
        if not self.tokenizer.is_fast:
            raise ValueError(
                "The 'template' parameter of LLMEmbeddingTransformer must be None for a "
                "model whose tokenizer can't say where its tokens stand in a text. Got "
                f"{template!r} with a {type(self.tokenizer).__name__} instead: use a "
                "model that has a tokenizer.json."
            )
        if template == "chat":
            return self._chat_template()
        return parse_template(template, counts=counts)

    def _chat_template(self):
        prompt = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": MARK}],
            tokenize=False,
            add_generation_prompt=True,
        )
        before, mark, after = prompt.partition(MARK)
        if not mark:
            raise ValueError("The model's chat template leaves the user's text out.")
        escaped = [
            part.replace("{", "{{").replace("}", "}}") for part in (before, after)
        ]
        return parse_template("{text}".join(escaped), adds_special_tokens=False)

    # --- lengths ---------------------------------------------------------------------

    def _check_room(self):
        empty = tuple("" for _ in self.template.columns or ())
        prompt, spans = self.template.render(empty if self.template.columns else "")
        needed = len(self._encode([prompt])["input_ids"][0])
        # At least one token of each field, and one that isn't in the window before.
        room = (self._room - needed) // len(spans)
        if room < 1:
            what = (
                f"the {needed} special tokens that this model's tokenizer adds to a text"
                if self._plain
                else f"the {needed} tokens of the template itself"
            )
            raise ValueError(
                "The 'max_length' parameter of LLMEmbeddingTransformer must be greater "
                f"than {what}. Got {self.max_length} instead."
            )
        if self.chunk_overlap is not None and self.chunk_overlap >= room:
            raise ValueError(
                "The 'chunk_overlap' parameter of LLMEmbeddingTransformer must be less "
                f"than the {room} tokens of text that a window of {self.max_length} "
                f"tokens holds. Got {self.chunk_overlap} instead."
            )

    def _windows(self, ids, spans):
        """Split a prompt that is too long: for each window which part of each field.

        Returns
        -------
        list of list of (int, int)
            For each window a part for each field. Fields that fit stay whole in each
            window; of longer ones each window holds the next part, of one length.
        """
        lengths = [stop - start for start, stop in spans]
        limit = fitting_length(lengths, self._room - len(ids) + sum(lengths))
        step, n_windows = limit, 1
        if self.chunk_overlap is not None:
            step = max(1, limit - self.chunk_overlap)
            # A copy that doesn't count needs no window of its own.
            counted = zip(lengths, self.template.counted, strict=True)
            longest = max(length for length, counts in counted if counts)
            n_windows += max(0, -(-(longest - limit) // step))
        return [
            [
                (start, stop)
                if stop - start <= limit
                else (
                    min(start + w * step, stop),
                    min(start + w * step + limit, stop),
                )
                for start, stop in spans
            ]
            for w in range(n_windows)
        ]

    def _row(self, ids, spans, parts):
        """The row with `parts` of its fields in place of all that `spans` cover."""
        made, places, at = [], [], 0
        for (start, stop), (a, b) in zip(spans, parts, strict=True):
            made += ids[at:start]
            places.append((len(made), len(made) + b - a))
            made += ids[a:b]
            at = stop
        made += ids[at:]
        return Row(made, self._counted(len(made), places), places[0][0])

    def _counted(self, n_tokens, places):
        head, tail = (0, self._head), (n_tokens - self._tail, n_tokens)
        if self.template.counts == "prompt":
            inside = [(self._head, n_tokens - self._tail)]
        elif self.template.counts == "behind":
            inside, head = [(places[0][0], n_tokens - self._tail)], (0, 0)
        else:
            counted = zip(places, self.template.counted, strict=True)
            inside = [place for place, counts in counted if counts]
        inside = [(start, stop) for start, stop in inside if start < stop]
        if not inside:
            # A text without a token of its own ("" to a BERT) is what stands around it.
            return [(0, n_tokens)]
        if self.special_tokens:
            inside = [head, *inside, tail]
        return [(start, stop) for start, stop in inside if start < stop]


def fitting_length(lengths, room):
    """The greatest length such that all lengths, cut to it, fit into `room`.

    Long fields are cut first: short ones lose nothing until all have the same length.

    Examples
    --------
    >>> from sklearn_llm2vec._tokens import fitting_length
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


def _n_leading(special):
    """Number of ones at the start."""
    return next((i for i, value in enumerate(special) if not value), len(special))
