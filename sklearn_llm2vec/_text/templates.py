"""Templates: the prompt around a text, and which part of it is the text.

A template is a string with fields in braces: ``{text}``, or names of columns. It is taken
apart once; what a user's text holds, braces too, is never read as a template.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """A published prompt, with the pooling that it was published with.

    Attributes
    ----------
    prompt : str
    pooling : str
        What ``pooling="auto"`` means.
    source : str
        Who published it.
    needs_causal : str or None
        Why it is made for causal attention: what is so without it, as a warning says it.
        None if any attention serves.
    counts : {"text", "alone"}
        Which tokens count in mean-like poolings, as `TextTokenizer` takes it.
    takes_instruction : bool
        Whether an instruction may follow its name, behind a colon.
    """

    prompt: str
    pooling: str
    source: str
    needs_causal: str | None = None
    counts: str = "text"
    takes_instruction: bool = False


PRESETS = {
    # The first three make the last token the place where the next word, a one-word
    # summary of the sentence, is prepared.
    "prompt_eol": Preset(
        prompt='This sentence : "{text}" means in one word:"',
        pooling="last",
        source='Jiang et al., "Scaling Sentence Embeddings with Large Language Models", '
        "arXiv 2307.16645",
        needs_causal="no token predicts the next one",
    ),
    "cot": Preset(
        prompt="After thinking step by step , this sentence : "
        '"{text}" means in one word:"',
        pooling="last",
        source='Zhang et al., "Simple Techniques for Enhancing Sentence Embeddings in '
        'Generative Language Models", arXiv 2404.03921: Pretended Chain of Thought',
        needs_causal="no token predicts the next one",
    ),
    "ke": Preset(
        prompt="The essence of a sentence is often captured by its main subjects and "
        "actions, while descriptive terms provide additional but less central details. "
        'With this in mind , this sentence : "{text}" means in one word:"',
        pooling="last",
        source='Zhang et al., "Simple Techniques for Enhancing Sentence Embeddings in '
        'Generative Language Models", arXiv 2404.03921: Knowledge Enhancement',
        needs_causal="no token predicts the next one",
    ),
    # The second copy of the text sees all of the first.
    "echo": Preset(
        prompt="Document:{text}\nDocument again:{text}",
        pooling="mean",
        source='Springer et al., "Repetition Improves Language Model Embeddings", '
        "arXiv 2402.15449",
        needs_causal="the first copy of the text sees the second one anyway",
    ),
    # The words of a chat come around it where the model is made for one.
    "llm2vec": Preset(
        prompt="{text}",
        pooling="mean",
        source='BehnamGhader et al., "LLM2Vec: Large Language Models Are Secretly '
        'Powerful Text Encoders", arXiv 2404.05961, and its package llm2vec 0.2.3',
        counts="alone",
        takes_instruction=True,
    ),
}

# Doubled braces stand for themselves; a field's name is all that is in its braces.
_PARTS = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


@dataclass(frozen=True)
class Template:
    """A template taken apart.

    Attributes
    ----------
    literals : tuple of str, length n + 1
        What stands before, between and after the fields.
    fields : tuple of str, length n
        Names, repeated where the template repeats them.
    adds_special_tokens : bool
        Whether the tokenizer adds its own around the prompt; a chat template brings them.
    """

    literals: tuple
    fields: tuple
    adds_special_tokens: bool = True

    @property
    def columns(self):
        """Distinct names of columns in order; None when the template is about a text.

        ``{text}`` alone stands for the texts of each column; beside other names it is a
        column like any other.
        """
        names = tuple(dict.fromkeys(self.fields))
        return None if names == ("text",) else names

    @property
    def counted(self):
        """For each field whether its tokens count: those of a name's last copy do."""
        last = {name: n for n, name in enumerate(self.fields)}
        return tuple(last[name] == n for n, name in enumerate(self.fields))

    def render(self, values):
        """Put a text, or a row's values, into the prompt.

        Parameters
        ----------
        values : str or tuple of str
            The text, or one value for each of `columns`.

        Returns
        -------
        prompt : str
        spans : list of (int, int)
            For each field where its value starts and stops in the prompt.

        Examples
        --------
        >>> from sklearn_llm2vec._text.templates import parse_template
        >>> parse_template('Query: "{text}"').render("red {car}")
        ('Query: "red {car}"', [(8, 17)])
        """
        if isinstance(values, str):
            by_name = dict.fromkeys(self.fields, values)
        else:
            by_name = dict(zip(self.columns, values, strict=True))
        prompt, spans = self.literals[0], []
        for name, literal in zip(self.fields, self.literals[1:], strict=True):
            spans.append((len(prompt), len(prompt) + len(by_name[name])))
            prompt += by_name[name] + literal
        return prompt, spans


def parse_template(template, **options):
    """Take a template string apart.

    Parameters
    ----------
    template : str
        Fields stand in braces; ``{{`` and ``}}`` are braces.
    **options
        Further attributes of the `Template`.

    Returns
    -------
    Template

    Raises
    ------
    ValueError
        For a string without a field, with an empty one, or with a lone brace.

    Examples
    --------
    >>> from sklearn_llm2vec._text.templates import parse_template
    >>> template = parse_template("{title} ({{{year}}})")
    >>> template.literals, template.columns
    (('', ' ({', '})'), ('title', 'year'))
    """
    literals, fields, at = [""], [], 0
    for part in _PARTS.finditer(template):
        literals[-1] += template[at : part.start()]
        at = part.end()
        if part[0] in ("{{", "}}"):
            literals[-1] += part[0][0]
        elif part[0] in ("{", "}"):
            raise no_template(
                template, f"a lone {part[0]!r} at position {part.start()}"
            )
        elif not part[1].strip():
            raise no_template(template, "braces without a name")
        else:
            fields.append(part[1])
            literals.append("")
    literals[-1] += template[at:]
    if not fields:
        raise no_template(template, "no field")
    return Template(tuple(literals), tuple(fields), **options)


def preset_of(template):
    """The preset that a `template` parameter names, and the instruction behind its name.

    Returns
    -------
    preset : Preset or None
    instruction : str

    Examples
    --------
    >>> from sklearn_llm2vec._text.templates import preset_of
    >>> preset_of("llm2vec: Find duplicates.")[1], preset_of("echo: {text}")
    ('Find duplicates.', (None, ''))
    """
    name, colon, instruction = (template or "").partition(":")
    preset = PRESETS.get(name)
    if preset is None or (colon and not preset.takes_instruction):
        return None, ""
    return preset, instruction.strip()


def is_name(template):
    """Whether a string has no braces: not a template, but perhaps a prompt's name."""
    return not set("{}") & set(template)


def escaped(words):
    """Words as they stand in a template: with their braces doubled."""
    return words.replace("{", "{{").replace("}", "}}")


def no_template(template, found):
    """The error for a string that is no template; `found` follows "which has"."""
    presets = ", ".join(map(repr, PRESETS))
    return ValueError(
        f"The 'template' parameter of LLMEmbeddingTransformer must be one of {presets}, "
        "'row', 'chat', the name of a prompt that the model declares, a string with "
        "'{text}' in it, or one with names of columns in braces ('{{' and '}}' stand for "
        f"braces). Got {template!r} instead, which has {found}."
    )
