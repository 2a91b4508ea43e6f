"""Endpoints: the vectors of an OpenAI-compatible embeddings server.

``read_served_model`` stands where a model's folder is read, ``EndpointEncoder`` where a
loaded model encodes: texts go out in small requests, several at a time, and come back as
blocks. What a server answers is checked (``answers``) before it counts as a vector. The
client is imported only to send something.
"""

import dataclasses
import email.utils
import hashlib
import json
import os
import random
import threading
import time
from concurrent.futures import FIRST_COMPLETED, CancelledError, wait
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import numpy as np

from sklearn_llm2vec._common.extras import not_installed
from sklearn_llm2vec._common.facts import remember
from sklearn_llm2vec._encode.answers import (
    another_model,
    error_for_users,
    is_final,
    read_vectors,
    refusal_of,
    shown,
)
from sklearn_llm2vec._encode.block import Block
from sklearn_llm2vec._encode.waiting import in_thread
from sklearn_llm2vec._text.templates import parse_template

# The one layer and pooling of a server's vectors: its own, which it doesn't tell.
CELL = (-1, "auto")

# Texts of a request: text-embeddings-inference takes no more unless it is told to.
BATCH_TEXTS = 32
# Tokens of a request by `_n_tokens`, so that slow servers answer in time.
BATCH_TOKENS = 16384
# Requests under way at a time: enough that a server can fill its batches.
REQUESTS = 8
# Seconds a server may take for one request, and to accept a connection.
TIMEOUT = 120.0
CONNECT_TIMEOUT = 10.0
# How often a request is sent that meets a busy or absent server. The waits between double
# from the first to the longest, 31 seconds in all; where the server says how long, it is
# that, unless it would be more than a user waits for without being told.
ATTEMPTS = 7
FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0
LONGEST_RETRY_AFTER = 120.0
# A block is handed out after so many rows or seconds: what a crash can lose.
BLOCK_ROWS = 512
BLOCK_SECONDS = 2.0

# What a server is asked first. Its vector tells the dimension, and whether the model
# behind the name is still the one of before: arithmetic in half precision on other
# hardware moves a vector by a few percent of its length, another model by far more.
PROBE = "The quick brown fox jumps over the lazy dog."
PROBE_TOLERANCE = 0.1


@dataclass(frozen=True)
class ServedModel:
    """A model behind an endpoint; stands where a ``ModelFolder`` does.

    Attributes
    ----------
    name : str
        As the server calls it.
    endpoint : str
        Base URL, perhaps with an ``api-version``.
    revision : str or None
        The user's word for what is served under the name.
    api_key_env : str or None
        Name of the environment variable that holds the key; never the key.
    hidden_size : int
        Features of a vector.
    probe : tuple of float
        The vector of ``PROBE`` when the server was first asked.
    """

    name: str
    endpoint: str
    revision: str | None = None
    api_key_env: str | None = None
    hidden_size: int | None = None
    probe: tuple = field(default=(), repr=False)

    # How many layers it has, nobody tells.
    n_layers = None


@dataclass(frozen=True)
class ServedSpec:
    """All that changes a vector, as far as it is known; stands for an ``EncoderSpec``.

    The endpoint is in it: nothing says that two servers mean the same by a name.
    """

    endpoint: str
    model: str
    revision: str | None = None
    template: str | None = None

    @property
    def fingerprint(self):
        """SHA-256 of all fields, as hexadecimal digits: the name of the space."""
        fields = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(f"endpoint:1:{fields}".encode()).hexdigest()


def read_served_model(name, endpoint, *, revision, api_key_env, memo_directory):
    """The model that a server calls `name`; the server is asked once, ever.

    Parameters
    ----------
    name, endpoint, revision, api_key_env
        As in `ServedModel`.
    memo_directory : path-like or None
        Where the server's first answer is remembered; None is the default cache's place.

    Returns
    -------
    ServedModel

    Raises
    ------
    ConnectionError
        When the server is new and can't be reached.
    ValueError
        When it refuses, or answers what can't be a vector.
    """
    from sklearn_llm2vec._common.places import default_directory

    memo = Path(memo_directory) if memo_directory is not None else default_directory()
    model = ServedModel(name, normal_url(endpoint), revision, api_key_env)
    about = json.dumps([model.endpoint, name, revision])
    probe = remember(
        f"endpoint:1:{hashlib.sha256(about.encode()).hexdigest()}",
        lambda: _first_answer(model),
        memo,
    )
    return dataclasses.replace(model, hidden_size=len(probe), probe=tuple(probe))


def _first_answer(model):
    with EndpointEncoder(model) as encoder:
        # Rounded: it is compared with a tolerance, and lies in a file of JSON.
        return [round(float(x), 6) for x in encoder.ask([PROBE])[0][0]]


def normal_url(url):
    """A base URL as the fingerprint has it.

    Examples
    --------
    >>> from sklearn_llm2vec._encode.endpoint import normal_url
    >>> normal_url("HTTP://Localhost:8000/v1/")
    'http://localhost:8000/v1'
    >>> normal_url("https://a.openai.azure.com/openai/v1/embeddings?api-version=1")
    'https://a.openai.azure.com/openai/v1?api-version=1'
    """
    parts = urlsplit(url.strip())
    # What requests go to, as some servers' pages give it, is the base and this word.
    path = parts.path.rstrip("/").removesuffix("/embeddings").rstrip("/")
    return parts._replace(
        scheme=parts.scheme.lower(), netloc=parts.netloc.lower(), path=path
    ).geturl()


class EndpointEncoder:
    """A client of one server, for one space.

    Parameters
    ----------
    model : ServedModel
    template : str or None
        The prompt around each text, put there before it is sent.
    batch_tokens : int or "auto"
        Most tokens of one request, by an estimate.
    """

    n_cut = 0  # what a server cuts, it doesn't tell
    ran_out = None

    def __init__(self, model, *, template=None, batch_tokens="auto"):
        self.model = model
        self.batch_tokens = BATCH_TOKENS if batch_tokens == "auto" else batch_tokens
        self._template = None if template is None else parse_template(template)
        self._key = _read_key(model.api_key_env)
        self._client = _open_client(model.endpoint, self._key)
        self._stop = threading.Event()
        self._not_before = 0.0  # for all requests: a busy server is busy for each

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._client.close()

    def encode(self, texts, layers, poolings):
        """Have texts encoded.

        Parameters
        ----------
        texts : sequence of str, or of tuple of str
            Tuples hold the values of a template's columns.
        layers, poolings
            Those of ``CELL``; a server has no others.

        Yields
        ------
        Block
            Each text is in exactly one block; blocks come as they are finished. When a
            request fails for good, what the others brought comes first.
        """
        prompts = [self._prompt(text) for text in texts]
        with self:
            if not prompts:
                return
            self._check_same_model()
            finished, since = [], time.monotonic()
            try:
                for answer in self._answers(prompts):
                    finished.append(answer)
                    n_rows = sum(len(rows) for rows, _, _ in finished)
                    late = time.monotonic() - since > BLOCK_SECONDS
                    if n_rows >= BLOCK_ROWS or late:
                        block, finished = _as_block(finished), []
                        yield block
                        since = time.monotonic()
            except Exception:
                if finished:
                    yield _as_block(finished)
                raise
            if finished:
                yield _as_block(finished)

    def ask(self, prompts):
        """One request: vectors of shape (n_prompts, features), and its tokens."""
        answer = self._send(prompts)
        vectors = read_vectors(answer, prompts, self.model, self._shown)
        usage = answer.get("usage")
        n_tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
        return vectors, n_tokens if isinstance(n_tokens, int) else 0

    def _shown(self, value, *, most):
        """What may be shown of a part of an answer."""
        return shown(value, self._key, most=most)

    def _prompt(self, text):
        if self._template is not None:
            text, _ = self._template.render(text)
        # Many servers refuse an empty string. To most tokenizers a space is the same.
        return text or " "

    def _check_same_model(self):
        vector, _ = self.ask([PROBE])
        before = np.array(self.model.probe)
        apart = np.linalg.norm(vector[0].astype(float) - before)
        if apart > PROBE_TOLERANCE * np.linalg.norm(before):
            raise another_model(self.model, "other values")

    def _answers(self, prompts):
        """Yield (rows, vectors, n_tokens) of each request as it is answered."""
        waiting = _batches(prompts, self.batch_tokens)
        running, failure = {}, None
        try:
            while True:
                while failure is None and len(running) < REQUESTS:
                    rows = next(waiting, None)
                    if rows is None:
                        break
                    batch = [prompts[i] for i in rows]
                    running[in_thread(self.ask, batch)] = rows
                if not running:
                    break
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    rows, error = running.pop(future), future.exception()
                    if error is None:
                        yield rows, *future.result()
                    elif failure is None:
                        failure = error
                        self._stop.set()  # who waits for another attempt gives up
        finally:
            self._stop.set()
        if failure is not None:
            raise failure

    # --- one request -----------------------------------------------------------------

    def _send(self, prompts):
        """The server's answer to one request, sent again where that may help."""
        body = {"model": self.model.name, "input": prompts, "encoding_format": "float"}
        for attempt in range(ATTEMPTS):
            pause = self._not_before - time.monotonic()
            if pause > 0:
                pause *= 1 + random.random() / 4  # not all at the same moment
            if self._stop.wait(max(0.0, pause)):
                raise CancelledError
            answer, error = self._try(body)
            if error is None:
                return answer
            pause = _pause(error, attempt)
            if pause is None:
                break
            self._not_before = max(self._not_before, time.monotonic() + pause)
        # Here and not where it was caught: the client's error holds the key, and so must
        # no variable be that error.
        failure = error_for_users(error, self.model, self._key, attempt + 1)
        error = None
        raise failure

    def _try(self, body):
        import openai

        from sklearn_llm2vec._encode.transport import RefusedAnswer

        options = {"headers": {} if self._key else {"Authorization": openai.Omit()}}
        if self._key and urlsplit(self.model.endpoint).query:
            # Azure's name for it, which the client would hand on to another host.
            options["headers"] = {"api-key": self._key}
            options["follow_redirects"] = False
        try:
            # The plain answer: the client's own types cost time and hide odd ones.
            answer = self._client.post(
                "/embeddings", cast_to=object, body=body, options=options
            )
            return answer, None
        except (openai.APIError, RefusedAnswer) as error:
            return None, error
        # Numbers of thousands of digits, lists in lists in lists: no JSON for Python.
        except (ValueError, RecursionError):
            return "no JSON", None


def _read_key(name):
    """The key in the environment variable `name`; None where there is none."""
    if not _can_be_sent(name):  # the client would print it
        raise ValueError(
            f"The environment variable {name!r} must contain a key of printable ASCII "
            "characters. It contains other characters (not shown)."
        )
    return os.environ.get(name or "", "").strip() or None


def _can_be_sent(name):
    key = os.environ.get(name or "", "").strip()
    return key.isascii() and key.isprintable()


def _open_client(endpoint, key):
    try:
        import openai
    except ImportError as error:
        who = "The 'endpoint' parameter of LLMEmbeddingTransformer"
        raise not_installed(who, "the client openai", "endpoint") from error
    from sklearn_llm2vec._encode.transport import BoundedClient

    parts = urlsplit(endpoint)
    timeout = openai.Timeout(TIMEOUT, connect=CONNECT_TIMEOUT)
    return openai.OpenAI(
        base_url=parts._replace(query="").geturl(),
        default_query=dict(parse_qsl(parts.query)),
        api_key=key or "none",  # the client wants one; see `_try`
        timeout=timeout,
        http_client=BoundedClient(timeout),
        max_retries=0,
    )


def _n_tokens(prompt):
    """About as many tokens as a prompt has, rather too many."""
    return 1 + len(prompt.encode()) // 3


def _batches(prompts, most_tokens):
    """Yield the rows of each request; prompts of like length go together.

    Servers pad a batch to its longest text.
    """
    sizes = [_n_tokens(prompt) for prompt in prompts]
    rows, total = [], 0
    for i in sorted(range(len(prompts)), key=sizes.__getitem__):
        if rows and (len(rows) == BATCH_TEXTS or total + sizes[i] > most_tokens):
            yield np.array(rows)
            rows, total = [], 0
        rows.append(i)
        total += sizes[i]
    if rows:
        yield np.array(rows)


def _as_block(finished):
    rows, vectors, n_tokens = zip(*finished, strict=True)
    return Block(np.concatenate(rows), {CELL: np.concatenate(vectors)}, sum(n_tokens))


def _pause(error, attempt):
    """Seconds until a request is worth sending again; None if it never is."""
    status = getattr(error, "status_code", None)
    if is_final(status) or refusal_of(error) is not None:
        return None
    asked = None if status is None else _retry_after(error.response.headers)
    if asked is not None:
        return asked if asked <= LONGEST_RETRY_AFTER else None
    return min(FIRST_WAIT * 2**attempt, LONGEST_WAIT)


def _retry_after(headers):
    """Seconds that the header Retry-After asks for: a number, or a date."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        until = email.utils.parsedate_to_datetime(value)
        return max(0.0, until.timestamp() - time.time())
    except ValueError:
        return None
