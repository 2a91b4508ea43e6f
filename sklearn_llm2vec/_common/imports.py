"""transformers imports and changes parts of itself as it goes: threads take turns."""

import threading
from contextlib import contextmanager

# Held while transformers loads something. Reentrant: what is loaded may load more.
loading = threading.RLock()


@contextmanager
def quiet():
    """No loading report or progress bar of transformers: we check ourselves."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
