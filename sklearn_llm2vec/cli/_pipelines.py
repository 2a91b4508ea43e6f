"""Pipelines in files, and the lines of Python that load them.

joblib is always there, and its files are pickles: load only your own. skops' files can be
looked into first.
"""

import json

from sklearn_llm2vec._common.whole_files import whole_file

ENDINGS = (".joblib", ".skops")


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


def loading_lines(path, table, texts):
    """Three lines of Python that load a saved pipeline, and predict for a table.

    Parameters
    ----------
    path : Path
        What `save_pipeline` wrote.
    table : one of ``READ``
        A table like the one it was fitted on.
    texts : list of str
        Its columns of texts.

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
    reader, options = table.in_pandas(texts)
    more = "".join(f", {name}={value!r}" for name, value in options.items())
    return (
        f"import {module}, pandas as pd\n"
        f"pipeline = {module}.load({_quoted(path)}{trusted})\n"
        f"pipeline.predict(pd.{reader}({_quoted(table.path)}{more}))"
    )


def _quoted(path):
    return json.dumps(str(path), ensure_ascii=False)
