"""Tokens: each text becomes one or more rows of ids, and which of them count.

A prompt is tokenised as a whole, because tokens don't end where a text does; the tokens
of the text are found by their character offsets. Longer texts are cut, or split into
windows that each stand in the whole prompt.
"""

import json
import sys
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

from sklearn_llm2vec._text.templates import parse_template

PLAIN = parse_template("{text}")
# A prompt's head with fewer tokens isn't worth a cache of keys and values.
MIN_PREFIX = 4
# Stands for the text while a chat template is rendered.
MARK = "\ue000"
# Texts that tokenizers join to a prompt's words in different ways.
PROBES = ("a", " a", "1", ".", '"', "é", "中")
# What `strftime_now` gives chat templates that print the date. A text's vector must not
# change by day, nor what was kept yesterday be made anew: the clock stands still, on the
# day that Llama 3.1's own template names where it has no clock.
CODES = {
    "%-d": "26",
    "%-m": "7",
    "%d": "26",
    "%m": "07",
    "%b": "Jul",
    "%B": "July",
    "%y": "24",
    "%Y": "2024",
    "%a": "Fri",
    "%A": "Friday",
    "%j": "208",
    "%F": "2024-07-26",
    "%D": "07/26/24",
    "%x": "07/26/24",
    "%-H": "0",
    "%H": "00",
    "%I": "12",
    "%p": "AM",
    "%M": "00",
    "%S": "00",
    "%f": "000000",
    "%T": "00:00:00",
    "%X": "00:00:00",
    "%c": "Fri Jul 26 00:00:00 2024",
    "%z": "",
    "%Z": "",
}
CLOCK = (
    "{%- macro strftime_now(format) -%}{{ format"
    + "".join(
        f" | replace({json.dumps(code)}, {json.dumps(value)})"
        for code, value in CODES.items()
    )
    + " }}{%- endmacro +%}"
)


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
        self.room = max_length - n_added
        self.template = self._template(template, counts)
        self._plain = template is None
        self._head, self._tail = self._special_tokens_around()
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
        for ids, spans in self._tokenized(texts):
            cut = len(ids) > self.room
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
        # Templates of models that see images too want a list of parts.
        contents = MARK, [{"type": "text", "text": MARK}]
        reasons = []
        for content in contents:
            try:
                prompt = self._render_chat(content)
            except ImportError:  # of jinja2, with its pip line
                raise
            except Exception as error:  # a template may raise what it likes
                reasons.append(f"it stops with {type(error).__name__}: {error}")
                continue
            if MARK in prompt:
                escaped = prompt.replace("{", "{{").replace("}", "}}")
                # A template may write the text twice.
                return parse_template(
                    escaped.replace(MARK, "{text}"), adds_special_tokens=False
                )
            reasons.append("it leaves the text out")
        raise ValueError(
            "The 'template' parameter of LLMEmbeddingTransformer can be 'chat' only for "
            "a model whose chat template renders a single message of the user. Of this "
            f"one {reasons[0]}. Write the prompt as a string with '{{text}}' in it."
        )

    def _render_chat(self, content):
        return self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}],
            chat_template=CLOCK + self.tokenizer.get_chat_template(),
            tokenize=False,
            add_generation_prompt=True,
        )

    # --- lengths ---------------------------------------------------------------------

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
        """Split a prompt that is too long: for each window which part of each field.

        Returns
        -------
        list of list of (int, int)
            For each window a part for each field. Fields that fit stay whole in each
            window; of longer ones each window holds the next part, of one length.
        """
        lengths = [stop - start for start, stop in spans]
        around = len(ids) - sum(lengths)
        limit = fitting_length(lengths, self.room - around)
        if limit < 1:
            raise ValueError(
                "The 'max_length' parameter of LLMEmbeddingTransformer must leave room "
                f"for each text. Got {self.max_length}, but beside one of them stand "
                f"{around} tokens."
            )
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
            "The 'token_prepending' parameter of LLMEmbeddingTransformer must be None "
            "for a prompt that doesn't have words before one single text, which this "
            f"model's own ({template!r}) hasn't."
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
        raise ValueError(
            "The 'max_length' parameter of LLMEmbeddingTransformer must be greater "
            f"than {what}. Got {max_length} instead."
        )
    if chunk_overlap is not None and chunk_overlap >= room:
        raise ValueError(
            "The 'chunk_overlap' parameter of LLMEmbeddingTransformer must be less "
            f"than the {room} tokens of text that a window of {max_length} "
            f"tokens holds. Got {chunk_overlap} instead."
        )


def fitting_length(lengths, room):
    """The greatest length such that all lengths, cut to it, fit into `room`.

    Long fields are cut first: short ones lose nothing until all have the same length.

    Examples
    --------
    >>> from sklearn_llm2vec._text.tokens import fitting_length
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
