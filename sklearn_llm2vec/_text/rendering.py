"""Chat templates are rendered in a separate process, with limits.

A template is a program that comes with a model. jinja2's sandbox keeps it away from files
and from Python's internals, but doesn't stop endless loops and huge strings.
"""

import functools
import json
import os
import subprocess
import sys

# CPU time, if the system counts it; a template takes milliseconds.
MOST_SECONDS = 5
# Time until the answer, including imports, which take seconds on a busy machine.
MOST_WAITED = 60
# Address space in addition to that of the imports, if the system counts it.
MOST_BYTES = 2**30
# Length of the prompt.
MOST_CHARACTERS = 10**6

CHILD = """
import sys
sys.path[:] = sys.argv[1:]  # and not whatever folder this is
import json
from transformers.utils.chat_template_utils import render_jinja_template
message, template, names, memory, seconds, most = json.load(sys.stdin)
try:
    import resource
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[0])
    limit = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    used = int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))
    resource.setrlimit(resource.RLIMIT_CPU, (used + seconds,) * 2)
except (ImportError, OSError):
    pass  # not Linux: the time is the only limit
try:
    made = render_jinja_template(
        conversations=[[message]],
        chat_template=template,
        add_generation_prompt=True,
        **names,
    )
    prompt = (made[0] if isinstance(made, tuple) else made)[0]
    if len(prompt) > most:
        raise ValueError(f"the prompt has {len(prompt):,} characters")
    answer = {"prompt": prompt}
except ImportError as error:
    answer = {"missing": str(error)}
except BaseException as error:
    answer = {"error": f"{type(error).__name__}: {error}"[:500]}
json.dump(answer, sys.stdout)
"""


class RenderingFailed(Exception):
    """A template raised an error of its own, or took too long."""


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
    RenderingFailed
    ImportError
        If there is no jinja2 that transformers accepts.
    """
    names = {
        name: _plain(token) for name, token in tokenizer.special_tokens_map.items()
    }
    message = {"role": "user", "content": content}
    limits = MOST_BYTES, MOST_SECONDS, MOST_CHARACTERS
    return _rendered(json.dumps([message, template, names, *limits]))


def _plain(token):
    return list(map(str, token)) if isinstance(token, list | tuple) else str(token)


@functools.lru_cache(maxsize=64)
def _rendered(question):
    try:
        done = subprocess.run(
            [sys.executable, "-c", CHILD, *sys.path],
            input=question,
            capture_output=True,
            timeout=MOST_WAITED,
            encoding="utf-8",
            env={**os.environ, "PYTHONIOENCODING": "utf-8", "USE_TORCH": "0"},
        )
    except subprocess.TimeoutExpired:
        raise RenderingFailed(f"it takes more than {MOST_WAITED} seconds") from None
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise RenderingFailed(
            f"it takes more than {MOST_SECONDS} seconds or {MOST_BYTES:,} bytes"
        ) from None
    if "missing" in answer:
        raise ImportError(answer["missing"])
    if "error" in answer:
        raise RenderingFailed(f"it stops with {answer['error']}")
    return answer["prompt"]
