"""What a server can do to a client at most: bytes, seconds, and the host of an answer.

The client of OpenAI reads an answer to its end, however long that is, unpacks what is
packed, and follows to other hosts.
"""

import concurrent.futures
import time

import openai

from sklearn_llm2vec._encode.waiting import in_thread

# Of one answer. The largest that is meant, 32 vectors of 65,536 numbers, has fewer.
MOST_BYTES = 64 * 2**20
# From the request to the end of the answer.
MOST_SECONDS = 300.0


class RefusedAnswer(Exception):
    """An answer that isn't read; sending the request again wouldn't help."""


class BoundedClient(openai.DefaultHttpxClient):
    """OpenAI's HTTP client, with the proxies of the environment, whose answers end.

    Parameters
    ----------
    timeout : openai.Timeout
        Of a connection, and between two parts of an answer.
    """

    def __init__(self, timeout):
        super().__init__(
            timeout=timeout,
            # A packed answer could become a thousand times as long.
            headers={"Accept-Encoding": "identity"},
            event_hooks={"response": [_stay_on_the_host]},
        )

    def send(self, request, *, stream=False, **options):
        """Send a request; its answer is read within the limits."""
        # The time-out is of one part, and a head may come letter by letter. The body ends
        # in time by itself, and closes the connection.
        answer = in_thread(self._send, request, **options)
        try:
            return answer.result(MOST_SECONDS + 1)
        except concurrent.futures.TimeoutError:
            if answer.done():  # the connection's own
                raise
            raise _too_slow() from None

    def _send(self, request, **options):
        started = time.monotonic()
        response = super().send(request, stream=True, **options)
        try:
            content = b"".join(_bounded(response, started))
        finally:
            response.close()
        # A plain answer with the same head.
        return type(response)(
            response.status_code,
            headers=response.headers,
            content=content,
            request=response.request,
        )


def _too_slow():
    return RefusedAnswer(f"its answer took more than {MOST_SECONDS:.0f} s")


def _stay_on_the_host(response):
    """Refuse to be sent to another host, which would get the texts and all headers."""
    if not response.has_redirect_location:
        return
    here = response.request.url
    there = here.join(response.headers["location"])
    secure = (here.scheme, there.scheme) != ("https", "http")
    if here.host != there.host or not secure:
        raise RefusedAnswer(
            f"it redirects to {there.scheme}://{there.host}, which isn't the host of "
            "'endpoint': if you trust that host, set 'endpoint' to it"
        )


def _bounded(response, started):
    """Yield the parts of an answer, up to a length and a time."""
    packed = response.headers.get("content-encoding", "identity")
    if packed != "identity":
        raise RefusedAnswer(f"it is compressed ({packed}), which wasn't requested")
    n_bytes = 0
    for part in response.iter_raw():
        n_bytes += len(part)
        if n_bytes > MOST_BYTES:
            raise RefusedAnswer(f"its answer is longer than {MOST_BYTES:,} bytes")
        if time.monotonic() - started > MOST_SECONDS:
            raise _too_slow()
        yield part
