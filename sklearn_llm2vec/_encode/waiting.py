"""Waiting for a server that may never answer, in a way that can be interrupted."""

import threading
from concurrent.futures import Future


def in_thread(function, *args, **kwargs):
    """The future of a call in a thread of its own.

    A ThreadPoolExecutor would wait for its threads when the process ends, and so for a
    server that doesn't answer: Ctrl-C must end it.
    """
    future = Future()

    def run():
        try:
            future.set_result(function(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="endpoint", daemon=True).start()
    return future
