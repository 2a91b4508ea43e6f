"""torch, transformers and peft are imported, and load models, by one thread at a time.

transformers puts other objects in the place of its modules while they are imported, and
imports most of them only when they are asked for. A thread that asks at the same time is
given the module of before, in which the name is missing ("cannot import name 'AutoConfig'
from 'transformers'"). So whatever may import a part of these packages for the first time
stands inside ``with loading:``, also ``from_pretrained`` and its like; passes through a
network that is loaded import nothing.

``loading`` is never taken while a module is imported, nor held while waiting for another
thread: either could wait forever.
"""

import threading
from contextlib import contextmanager

from sklearn_llm2vec._common.forks import renewed_by_fork

# Reentrant: what is loaded may load more.
loading = renewed_by_fork(threading.RLock())


@contextmanager
def quiet():
    """No loading report or progress bar of transformers: we check ourselves.

    How much transformers says is a setting of the process, so this holds ``loading``.
    """
    with loading:
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
