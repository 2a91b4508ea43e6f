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
    """

    prompt: str
    pooling: str
    source: str
    needs_causal: str | None = None


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
    counts : {"text", "prompt", "behind"}
        What counts in mean-like poolings: the tokens of the text; all of the prompt, as
        in most sentence-transformers models with one; or all from the text on, special
        tokens behind it included, as in the others of them.
    """

    literals: tuple
    fields: tuple
    adds_special_tokens: bool = True
    counts: str = "text"

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
            raise ValueError(
                _expected(template, f"a lone {part[0]!r} at position {part.start()}")
            )
        elif not part[1].strip():
            raise ValueError(_expected(template, "braces without a name"))
        else:
            fields.append(part[1])
            literals.append("")
    literals[-1] += template[at:]
    if not fields:
        raise ValueError(_expected(template, "no field"))
    return Template(tuple(literals), tuple(fields), **options)


def _expected(template, found):
    presets = ", ".join(map(repr, PRESETS))
    return (
        f"The 'template' parameter of LLMEmbeddingTransformer must be one of {presets}, "
        "'row', 'chat', a string with '{text}' in it, or one with names of columns in "
        f"braces ('{{{{' and '}}}}' stand for braces). Got {template!r} instead, which "
        f"has {found}."
    )
