"""The store of trained adapters: what a training made, so that it is made once.

A folder beside the cached vectors with one folder for each training.
"""

import json
import os
import shutil
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from sklearn_llm2vec._common.checks import warn
from sklearn_llm2vec._common.damaged_json import DAMAGED_JSON
from sklearn_llm2vec._common.shared_folders import make_folder, make_shared
from sklearn_llm2vec._model.adapters import (
    CONFIG,
    NOTE,
    WEIGHTS,
    TrainedAdapter,
    save_adapter,
)

HISTORY = "history.json"
UNFINISHED = ".unfinished"


class AdapterStore:
    """Trained adapters on disk, safe for several processes of one host.

    Parameters
    ----------
    directory : Path or None
        None keeps nothing: checkpoints go to a temporary folder.
    """

    def __init__(self, directory):
        self.directory = directory

    def get(self, key):
        """The adapter and its history, or None where it isn't, or is damaged.

        Parameters
        ----------
        key : str
        """
        if self.directory is None:
            return None
        folder = self.directory / key
        try:
            note = json.loads((folder / NOTE).read_text())
            adapter = TrainedAdapter(
                stage=note.pop("stage"),
                config=(folder / CONFIG).read_bytes(),
                weights=(folder / WEIGHTS).read_bytes(),
                bidirectional=note.pop("bidirectional"),
                note=json.dumps(note),
            )
            record = json.loads((folder / HISTORY).read_text())
            whole = record["digest"] == adapter.digest
            return (adapter, record["history"]) if whole else None
        except (OSError, *DAMAGED_JSON):
            return None

    def put(self, key, adapter, history):
        """Keep an adapter; a reader sees all of it or nothing.

        A full or read-only disk costs the keeping, not the result.
        """
        if self.directory is None:
            return
        beside = self.directory / f".new-{key}-{os.getpid()}"
        try:
            save_adapter(adapter, beside)
            record = {"digest": adapter.digest, "history": history, "made": time.time()}
            (beside / HISTORY).write_text(json.dumps(record))
            shutil.rmtree(self.directory / key, ignore_errors=True)
            os.replace(beside, self.directory / key)
        except OSError as error:
            shutil.rmtree(beside, ignore_errors=True)
            warn(
                f"The trained adapter can't be stored in {self.directory} ({error}). "
                "The result is the same, but the next fit trains again."
            )

    @contextmanager
    def training(self, key):
        """A context in which no other process of this host trains what `key` names.

        Yields
        ------
        Path
            For checkpoints. It stays when the training is interrupted or the process is
            killed, and goes when it is done.
        """
        from filelock import FileLock

        with ExitStack() as until_the_end:
            enter = until_the_end.enter_context
            folder = None
            if self._can_write():
                # A lock that can't be made costs the checkpoints, not the result.
                with suppress(OSError):
                    lock = self.directory / f"{key}.lock"
                    enter(FileLock(lock))
                    make_shared(lock)
                    folder = self.directory / f"{key}{UNFINISHED}"
                    make_folder(folder)
            if folder is None or not folder.is_dir():
                made = tempfile.TemporaryDirectory(prefix="sklearn-llm2vec-")
                yield Path(enter(made))
                return
            yield folder
            shutil.rmtree(folder, ignore_errors=True)

    def _can_write(self):
        if self.directory is None:
            return False
        try:
            make_folder(self.directory)
            with tempfile.TemporaryFile(dir=self.directory):
                return True
        except OSError:
            return False
