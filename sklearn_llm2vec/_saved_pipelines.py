"""Pipelines in files, and the lines of Python that load them.

joblib is always there, and its files are pickles: load only your own. skops' files can be
looked into first. This file doesn't know how a pipeline came to be.
"""

import json

from sklearn_llm2vec._whole_files import whole_file

__all__ = ["check_format", "loading_lines", "save_pipeline"]

READERS = {
    ".tsv": "pd.read_csv({}, sep='\\t')",
    ".jsonl": "pd.read_json({}, lines=True)",
    ".ndjson": "pd.read_json({}, lines=True)",
    ".parquet": "pd.read_parquet({})",
}


def check_format(path):
    """Raise with the pip line when the package that writes this file is absent."""
    if path.suffix.lower() != ".skops":
        return
    try:
        import skops.io  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"To save {str(path)!r} skops is needed: pip install skops. Or choose a file "
            "that ends in .joblib."
        ) from error


def save_pipeline(pipeline, path):
    """Write a fitted pipeline; the ending of `path` says how."""
    with whole_file(path) as file:
        if path.suffix.lower() == ".skops":
            import skops.io

            file.write(skops.io.dumps(pipeline))
        else:
            import joblib

            joblib.dump(pipeline, file)


def loading_lines(path, table_path, separator=None):
    """Three lines of Python that load a saved pipeline, and predict for a table.

    Parameters
    ----------
    path : Path
        What `save_pipeline` wrote.
    table_path : Path
        A table like the one it was fitted on.
    separator : str or None, default=None
        Of a ``.csv`` file, where it is no comma.

    Returns
    -------
    str
    """
    module, trusted = "joblib", ""
    if path.suffix.lower() == ".skops":
        import skops.io

        module = "skops.io"
        # Names, so that the reader sees whose code would run.
        trusted = f", trusted={skops.io.get_untrusted_types(file=path)}"
    endings = [suffix.lower() for suffix in table_path.suffixes]
    reader = next((READERS[e] for e in reversed(endings) if e in READERS), None)
    if reader is None:
        plain = separator in (None, ",")
        reader = "pd.read_csv({})" if plain else f"pd.read_csv({{}}, sep={separator!r})"
    return (
        f"import {module}, pandas as pd\n"
        f"pipeline = {module}.load({_quoted(path)}{trusted})\n"
        f"pipeline.predict({reader.format(_quoted(table_path))})"
    )


def _quoted(path):
    return json.dumps(str(path), ensure_ascii=False)
