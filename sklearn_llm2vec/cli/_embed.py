"""``sklearn-llm2vec embed``: the features of a table's texts, into a file.

A chunk of rows is read, transformed and written, then the next: memory doesn't grow with
the table. What a stopped run encoded lies in the cache, so a second one reads the table
again and finds those vectors there; the output is written anew, from its first row.
"""

import time
from contextlib import ExitStack, closing

from sklearn_llm2vec._common.halves import as_float16
from sklearn_llm2vec._common.whole_files import check_output, whole_file
from sklearn_llm2vec._common.words import count_from, file_ending_in
from sklearn_llm2vec.cli._columns import open_named_table, survey_texts
from sklearn_llm2vec.cli._commands import PROGRAM, add_command
from sklearn_llm2vec.cli._console import make_bar, note
from sklearn_llm2vec.cli._formats import (
    WRITTEN,
    endings_of,
    format_ending_in,
    listed,
)
from sklearn_llm2vec.cli._model_options import add_model_options, make_transformer
from sklearn_llm2vec.cli._table_options import AppendOnce, add_table, add_texts

KEEPING = endings_of(one for one in WRITTEN if one.writer.keeps)
NARROWING = endings_of(one for one in WRITTEN if one.writer.narrows)

ABOUT = """\
Write the features of a table's text columns to a file. Rows are read and
written in chunks, so the table may be larger than memory.
"""

EXAMPLES = f"""\
examples:
  the vectors of one column, with the column of ids:
    {PROGRAM} embed reviews.csv --text review --keep id -o reviews.parquet
  the layer and pooling of a larger model that a search has found:
    {PROGRAM} embed reviews.jsonl --text review --model Qwen/Qwen3-0.6B \\
        --layer 17 --pooling mean -o reviews.npy
  one vector for each row, from two columns:
    {PROGRAM} embed reviews.parquet --text title --text review \\
        --template "Title: {{title}}. {{review}}" -o reviews.parquet.npy

To resume a run that was stopped, run the same command again. The finished
vectors are in the cache.
"""


def add_to(commands, summary):
    """Add the command and its options."""
    command = add_command(
        commands,
        "embed",
        summary,
        run=run,
        about=ABOUT,
        examples=EXAMPLES,
        usage="embed FILE --text COL -o OUTPUT",
    )
    add_table(command)
    add_texts(command)
    command.add_argument(
        "-o",
        "--output",
        required=True,
        type=file_ending_in(*endings_of(WRITTEN)),
        metavar="FILE",
        help="; ".join(f"{listed(one.endings)}: {one.writer.about}" for one in WRITTEN),
    )
    command.add_argument(
        "--keep",
        action=AppendOnce,
        default=[],
        metavar="COL",
        help=f"column to copy into {listed(KEEPING)}; may be repeated",
    )
    command.add_argument(
        "--output-dtype",
        choices=("float32", "float16"),
        default="float32",
        help=f"float16, in {listed(NARROWING)}, halves the disk space (default: float32)",
    )
    command.add_argument(
        "--overwrite", action="store_true", help="replace an existing output"
    )
    command.add_argument(
        "--chunk-rows",
        type=count_from,
        default=10_000,
        metavar="N",
        help="number of rows in memory at a time (default: 10000)",
    )
    add_model_options(command)
    command.set_defaults(resumes=True)


def run(args):
    """Run ``embed``."""
    make_writer = format_ending_in(args.output.suffix.lower(), WRITTEN).writer
    _check_output(args, make_writer)
    started = time.perf_counter()
    table = open_named_table(args)
    # From csv to csv, what is kept comes out as it went in.
    verbatim = [] if make_writer.typed else args.keep
    survey = survey_texts(table, args, args.keep, as_written=verbatim)
    if not make_writer.typed:
        _check_no_bytes(table, survey, args)
    transformer = make_transformer(args)
    n_rows = n_encoded = n_cached = 0
    with (
        make_bar(survey.n_rows, "row", f"Writing {args.output.name}", args) as bar,
        whole_file(args.output) as file,
        ExitStack() as opened,
    ):
        writer = None
        for chunk in table.chunks(survey, args.chunk_rows):
            texts = chunk.select(args.text)
            if writer is None:
                transformer.fit(texts)
                layout = Layout(transformer, args.text, survey.n_rows)
                _check_names(args, make_writer.adds(layout))
                writer = opened.enter_context(closing(make_writer(file, layout)))
            features = transformer.transform(texts)
            if args.output_dtype == "float16":
                features = as_float16(features, "--output-dtype")
            writer.write(chunk.select(args.keep), features)
            n_rows += len(chunk)
            n_encoded += transformer.last_report_.encoded
            n_cached += transformer.last_report_.cached
            bar.update(len(chunk))
        if n_rows != survey.n_rows:
            raise ValueError(f"The file {str(table.path)!r} changed while it was read.")
    print(f"{args.output}: {survey.n_rows:,} rows, {features.shape[1]:,} features")
    note(
        f"{n_encoded:,} texts went through the model, {n_cached:,} were found in the "
        f"cache; {time.perf_counter() - started:.1f} s",
        args,
    )


def _check_output(args, writer):
    """Refuse, before anything is read, an output that can't be written."""
    output = args.output
    if args.keep and not writer.keeps:
        args.parser.error(
            f"a {output.suffix} file can't contain the columns of --keep: write "
            f"{listed(KEEPING)}"
        )
    if args.output_dtype == "float16" and not writer.narrows:
        args.parser.error(
            f"a {output.suffix} file can't contain float16: write {listed(NARROWING)}"
        )
    check_output(output, [args.file])
    if output.exists() and not args.overwrite:
        raise FileExistsError(
            f"The output {str(output)!r} already exists. Choose another name, or "
            "replace it with --overwrite."
        )


def _check_no_bytes(table, survey, args):
    """Refuse to keep bytes where there are texts only."""
    for name in args.keep:
        if "binary" in survey.kinds[name]:
            raise ValueError(
                f"The column {name!r} of {str(table.path)!r} can't be kept: it holds "
                f"bytes, and {args.output.name!r} can only contain texts. Write another "
                "format, or leave it out."
            )


class Layout:
    """What is written: the features of a fitted transformer.

    Parameters
    ----------
    transformer : LLMEmbeddingTransformer
    texts : list of str
        The text columns.
    n_rows : int
    """

    def __init__(self, transformer, texts, n_rows):
        self._transformer, self._texts, self.n_rows = transformer, texts, n_rows

    @property
    def features(self):
        """Names of all features."""
        return list(self._transformer.get_feature_names_out())

    @property
    def blocks(self):
        """Names of equally wide blocks of features, one for each text column."""
        from sklearn_llm2vec.distributed._tables import check_task

        return check_task(self._transformer, self._texts, None, "embed")[1]


def _check_names(args, names):
    """Refuse to keep a column whose name features get."""
    taken = [name for name in args.keep if name in names]
    if taken:
        raise ValueError(
            f"The column {taken[0]!r} of {args.file!r} can't be kept, because a "
            "feature has the same name. Rename it, or leave it out."
        )
