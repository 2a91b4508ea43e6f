"""What an embeddings server answers: vectors, which are checked, and errors.

Whatever is told of an answer is told without the key, which a server may repeat.
"""

import base64
import json
from urllib.parse import quote

import numpy as np

# Number of characters of an answer that are searched for the key, more than are ever
# shown; and the shortest part of the key that is hidden.
MOST_SEARCHED = 10_000
SHORTEST_PART = 8
# What JSON's numbers become, and its null, which is no finite one.
NUMBERS = {int, float, type(None)}
# Statuses below 500 that pass: time-out, conflict, too early, too many requests.
PASSING = (408, 409, 425, 429)


def read_vectors(answer, prompts, model, show):
    """The vectors of an answer in the order of the prompts, checked.

    `show` gives the first characters of what may hold the key, for error messages.
    """
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list) or not all(isinstance(one, dict) for one in data):
        raise ValueError(
            f"{_server(model)} must answer with a JSON object that has a list 'data'. "
            f"Got {show(answer, most=80)!r} instead: check that the URL belongs to an "
            "OpenAI-compatible API. Most of these URLs end in /v1."
        )
    if len(data) != len(prompts):
        raise ValueError(
            f"{_server(model)} must answer with one vector for each of the "
            f"{len(prompts)} texts of a request. Got {len(data)} instead."
        )
    by_index = dict(zip(_places(data), data, strict=True))
    missing = sorted(set(range(len(prompts))) - set(by_index))
    if missing:
        raise ValueError(
            f"{_server(model)} must number its vectors from 0 to {len(prompts) - 1}, "
            f"each once. Got none with 'index' {missing[0]} instead."
        )
    vectors = [
        _read_vector(by_index[i].get("embedding"), prompt, model, show)
        for i, prompt in enumerate(prompts)
    ]
    width = model.hidden_size or len(vectors[0])
    for vector, prompt in zip(vectors, prompts, strict=True):
        if len(vector) != width:
            raise another_model(
                model,
                f"{len(vector)} features instead of {width} for the text that begins "
                f"with {prompt[:40]!r}",
            )
    return np.stack(vectors)


def _places(data):
    """The places of an answer's vectors; None where one's place isn't clear."""
    said = [one.get("index") for one in data]
    places = [int(i) if isinstance(i, str) and i.isdecimal() else i for i in said]
    places = [i if type(i) is int else None for i in places]
    if all(i is None for i in said):
        return list(range(len(data)))  # no word against the order in which they came
    if said.count(None) == 1 and 0 not in places:
        # Protocol buffers, and so Gemini, leave a zero out.
        places[said.index(None)] = 0
    return places


def _read_vector(values, prompt, model, show):
    try:
        with np.errstate(over="ignore"):
            if isinstance(values, str):  # sent by servers that know only this
                vector = np.frombuffer(base64.b64decode(values, validate=True), "<f4")
            elif isinstance(values, list) and set(map(type, values)) <= NUMBERS:
                vector = np.asarray(values, np.float32)
            else:  # numpy would read strings and take True for 1
                vector = np.zeros(0)
    except (TypeError, ValueError, OverflowError):
        vector = np.zeros(0)
    if vector.ndim != 1 or not vector.size:
        kind = "a vector, a list of numbers"
        got = f"{type(values).__name__} {show(values, most=40)!r}"
    elif not np.isfinite(vector).all():
        n_bad = int(np.count_nonzero(~np.isfinite(vector)))
        kind = "finite numbers"
        got = f"NaN or infinity in {n_bad} of {len(vector)} features"
    else:
        return vector
    raise ValueError(
        f"{_server(model)} must answer with {kind}, for each text. Got {got} for the "
        f"text that begins with {prompt[:40]!r}."
    )


def _server(model):
    return f"The server at {model.endpoint} with model {model.name!r}"


def another_model(model, got):
    """The error for a server that answers with vectors of another model than before."""
    return ValueError(
        f"{_server(model)} must return the vectors of the same model as in the first "
        f"request. Got {got}, so the name now refers to another model. Set 'revision' "
        "to any new str to keep the vectors of that model separate."
    )


def is_final(status):
    """Whether the same request would be refused again; None stands for no answer."""
    return status is not None and status < 500 and status not in PASSING


def refusal_of(error):
    """Why the client didn't read an answer; None where it did, or there was none.

    The client wraps the error of the transport in one of its own.
    """
    while error is not None:
        if type(error).__name__ == "RefusedAnswer":
            return str(error)
        error = error.__cause__
    return None


def error_for_users(error, model, key, n_attempts):
    """What the user is told of the client's error: without the key."""
    status = getattr(error, "status_code", None)
    refusal = refusal_of(error)
    if refusal is not None:
        return ValueError(
            f"{_server(model)} must answer with embeddings. Its answer wasn't read: "
            f"{shown(refusal, key, most=500)}."
        )
    said = shown(_message(error), key, most=500)
    if is_final(status):
        advice = ""
        if status in (401, 403):
            where = f"from the environment variable {model.api_key_env!r}"
            with_ = f"with the key {where}" if key else "without a key"
            advice = f" It was sent {with_} ('api_key_env')."
        return ValueError(
            f"{_server(model)} refused a request with status {status}: {said}{advice}"
        )
    what = "Connection failed" if status is None else f"Status {status}"
    return ConnectionError(
        f"{_server(model)} didn't answer a request that was sent {n_attempts} time(s). "
        f"{what}: {said}"
    )


def _message(error):
    body = getattr(error, "body", None)
    if isinstance(body, dict):
        body = body.get("message") or body.get("detail") or body
    return str(body or error.__cause__ or error)


def shown(value, key, *, most):
    """The first characters of a value, without the key or a part of it."""
    said = str(value)[:MOST_SEARCHED]
    if key:
        # Before it is cut: the first half of a key is a secret, too.
        for form in {key, repr(key)[1:-1], json.dumps(key)[1:-1], quote(key, safe="")}:
            said = _without(said, form)
    return said if len(said) <= most else said[:most] + "..."


def _without(text, key):
    """A text with stars for the key, and for parts of it that a server may repeat."""
    n = min(len(key), SHORTEST_PART)
    lower, small = _small(text), _small(key)
    parts = {small[i : i + n] for i in range(len(small) - n + 1)}
    hidden = set()
    for part in parts:
        at = lower.find(part)
        while at >= 0:
            hidden.update(range(at, at + n))
            at = lower.find(part, at + 1)
    shown = []
    for i, character in enumerate(text):
        if i not in hidden:
            shown.append(character)
        elif i - 1 not in hidden:
            shown.append("***")
    return "".join(shown)


def _small(text):
    """A text in small letters, each in its place: some small forms are longer."""
    return "".join(letter.lower()[0] for letter in text)
