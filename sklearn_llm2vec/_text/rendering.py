"""Chat templates are rendered in a separate process, with limits.

A template is a program that comes with a model. jinja2's sandbox keeps it away from files
and from Python's internals, but doesn't stop endless loops and huge strings.
"""

import functools
import json

from sklearn_llm2vec._common.limited import LimitReached, Stopped, answered

# Length of the prompt.
MOST_CHARACTERS = 10**6

CODE = """
def prepare():
    from transformers.utils.chat_template_utils import render_jinja_template

    def render(message, template, names, most):
        made = render_jinja_template(
            conversations=[[message]],
            chat_template=template,
            add_generation_prompt=True,
            **names,
        )
        prompt = (made[0] if isinstance(made, tuple) else made)[0]
        if len(prompt) > most:
            raise ValueError(f"the prompt has {len(prompt):,} characters")
        return prompt

    return render
"""


class RenderingFailed(Exception):
    """A template raised an error of its own."""


class RenderingTookTooMuch(RenderingFailed):
    """A template went beyond the limits of time or memory."""


def rendered(tokenizer, template, content):
    """The prompt that a chat template makes of one message of the user.

    Parameters
    ----------
    tokenizer : transformers tokenizer
    template : str
    content : str or list
        Of the message.

    Returns
    -------
    str

    Raises
    ------
    RenderingFailed, RenderingTookTooMuch
    ImportError
        If there is no jinja2 that transformers accepts.
    """
    names = {
        name: _plain(token) for name, token in tokenizer.special_tokens_map.items()
    }
    message = {"role": "user", "content": content}
    question = json.dumps([message, template, names, MOST_CHARACTERS])
    prompt, failure, reason = _outcome(question)
    if failure is not None:
        raise failure(reason)
    return prompt


def _plain(token):
    return list(map(str, token)) if isinstance(token, list | tuple) else str(token)


@functools.lru_cache(maxsize=64)
def _outcome(question):
    """A prompt, or the error for there being none and its reason.

    Kept, too, since it takes seconds as well.
    """
    try:
        return answered(CODE, *json.loads(question)), None, None
    except LimitReached as error:
        return None, RenderingTookTooMuch, str(error)
    except Stopped as error:
        return None, RenderingFailed, str(error)
