"""Chat templates: a tokenizer's own prompt for a message becomes a template like others.

It is rendered once, with a mark in the place of the text.
"""

import json

from sklearn_llm2vec._common.people import printable
from sklearn_llm2vec._text.rendering import (
    RenderingFailed,
    RenderingTookTooMuch,
    rendered,
)
from sklearn_llm2vec._text.templates import escaped, parse_template

# Stands for the text while a chat template is rendered.
MARK = "\ue000"

# Some chat templates print today's date: they call `strftime_now`, a function of the
# clock that transformers gives them. A text's vector must not change by day, nor what was
# kept yesterday be made anew, so for them the clock stands still, on the day that Llama
# 3.1's own template names where it has no clock.
DAY = {
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
# A macro of the same name that stands before the template, and is compiled with it, hides
# the function. The function can't be given as an argument of the rendering (transformers
# 5.24 makes plain data of those), and to replace it inside transformers would change it
# for everybody else in the process. Macros have no `strftime`, hence the list of codes.
CLOCK = (
    "{%- macro strftime_now(format) -%}{{ format"
    + "".join(
        f" | replace({json.dumps(code)}, {json.dumps(value)})"
        for code, value in DAY.items()
    )
    + " }}{%- endmacro +%}"
)


def chat_template(tokenizer):
    """The prompt that a tokenizer's chat template puts around one message of the user.

    Parameters
    ----------
    tokenizer : transformers tokenizer with a chat template

    Returns
    -------
    Template

    Raises
    ------
    ValueError
        When it doesn't render such a message, or leaves the text out.
    """
    # Templates of models that see images too want a list of parts.
    contents = MARK, [{"type": "text", "text": MARK}]
    reasons = []
    for content in contents:
        try:
            template = CLOCK + _template_of(tokenizer)
            prompt = rendered(tokenizer, template, content)
        except RenderingTookTooMuch as error:
            reasons.append(printable(error, 300))
            break  # with parts it would, too, and the user waits
        except RenderingFailed as error:
            reasons.append(printable(error, 300))
            continue
        if MARK in prompt:
            # A template may write the text twice.
            template = escaped(prompt).replace(MARK, "{text}")
            return parse_template(template, adds_special_tokens=False)
        reasons.append("it leaves the text out")
    raise ValueError(
        "The 'template' parameter of LLMEmbeddingTransformer can be 'chat' only for "
        "a model whose chat template can render a single message of the user. With "
        f"this one, {reasons[0]}. Write the prompt as a string with '{{text}}' in it."
    )


def _template_of(tokenizer):
    try:
        return str(tokenizer.get_chat_template())
    except Exception as error:  # a folder's files may put anything there
        raise RenderingFailed(
            f"it stops with {type(error).__name__}: {error}"
        ) from None
