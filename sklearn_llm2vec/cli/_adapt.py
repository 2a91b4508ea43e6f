"""``sklearn-llm2vec adapt``: train LLM2Vec adapters on a table's texts, and save them.

All texts are in memory: training shuffles them. Stages that are finished are kept beside
the cache, and so are checkpoints of the one that was interrupted.
"""

from pathlib import Path

from sklearn_llm2vec._common.names import CHAINS
from sklearn_llm2vec._common.whole_files import check_output, check_parent, whole_folder
from sklearn_llm2vec._common.words import file_ending_in, setting_from
from sklearn_llm2vec.cli._columns import (
    as_classes,
    open_named_table,
    split_target,
    survey_texts,
)
from sklearn_llm2vec.cli._commands import PROGRAM, add_command
from sklearn_llm2vec.cli._console import format_table, note
from sklearn_llm2vec.cli._figures import find_pyplot, save_figure
from sklearn_llm2vec.cli._model_options import (
    add_model_options,
    make_transformer,
    transformer_parameters,
)
from sklearn_llm2vec.cli._table_options import add_table, add_texts
from sklearn_llm2vec.cli._tables import check_kinds, read_frame

EXAMPLES = f"""\
examples:
  adapt without labels, then write features of the adapted model:
    {PROGRAM} adapt reviews.csv --text review --model ./llama \\
        --recipe mntp+simcse -o adapted
    {PROGRAM} embed reviews.csv --text review --model ./llama \\
        --adapters adapted/1-mntp --adapters adapted/2-simcse -o reviews.npy
  a short training with labels, also saved as a whole model for other programs:
    {PROGRAM} adapt reviews.csv --text review --target stars \\
        --recipe supervised --set supervised_steps=200 -o adapted \\
        --merge reviews-model
"""


def add_to(commands, summary):
    """Add the command and its options."""
    command = add_command(
        commands,
        "adapt",
        summary,
        run=run,
        about="Make a model bidirectional and train adapters on the texts, as LLM2Vec "
        "does.",
        examples=EXAMPLES,
        usage="adapt FILE --text COL -o FOLDER",
    )
    add_table(command)
    add_texts(command)
    add = command.add_argument
    add(
        "--recipe",
        choices=CHAINS,
        default="mntp+simcse",
        help="stages of the training (default: mntp+simcse)",
    )
    add("--target", metavar="COL", help="column of classes, for a supervised recipe")
    add(
        "--positive",
        metavar="COL",
        help="column of a similar text for each text, instead of --target",
    )
    add("--negative", metavar="COL", help="column of a dissimilar text for each text")
    add(
        "--set",
        action="append",
        default=[],
        type=setting_from,
        metavar="NAME=VALUE",
        help="parameter of LLM2VecRecipe, such as simcse_steps=200; may be repeated",
    )
    add(
        "-o",
        "--output",
        required=True,
        metavar="FOLDER",
        help="folder for the adapters",
    )
    add("--merge", metavar="FOLDER", help="folder for the whole adapted model")
    add("--png", type=file_ending_in(".png"), metavar="FILE", help="plot of the loss")
    add(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="seed of the training (default: 0)",
    )
    add_model_options(command, served=False)
    command.set_defaults(resumes=True)


def run(args):
    """Run ``adapt``."""
    recipe = _make_recipe(args)
    check_output(args.png)
    if args.png:
        find_pyplot()
    folders = [_folder(f) for f in (args.output, args.merge) if f is not None]
    if len({folder.resolve() for folder in folders}) < len(folders):
        args.parser.error("-o and --merge need different folders")
    for folder in folders:
        _check_folder(folder)
    texts, target = _read_training_rows(args)
    transformer = make_transformer(args, adapt=recipe, random_state=args.seed)
    note(f"{len(texts):,} rows; {args.recipe} on {transformer.model}", args)
    transformer.fit(texts, target)
    with whole_folder(folders[0]) as folder:
        transformer.save_adapters(folder)
    print(_losses_table(transformer.adaptation_history_))
    adapters = [str(path.absolute()) for path in sorted(folders[0].iterdir())]
    before = list(transformer.adapters or [])
    print("\nfrom sklearn_llm2vec import LLMEmbeddingTransformer")
    print(_expression(args, transformer.model, adapters=before + adapters))
    if args.merge:
        with whole_folder(folders[1]) as folder:
            transformer.merge_and_save(folder)
        merged = _expression(args, str(folders[1].absolute()), adapters=None)
        print(f"{merged}  # the same, merged")
    if args.png:
        from sklearn_llm2vec._adapt.display import AdaptationDisplay

        save_figure(lambda: AdaptationDisplay.from_estimator(transformer), args.png)


def _expression(args, model, adapters):
    """Python for the adapted transformer, with the other options that were given."""
    given = {**transformer_parameters(args), "adapters": adapters}
    more = "".join(
        f", {name}={value!r}"
        for name, value in given.items()
        if value is not None and name not in ("model", "cache", "device")
    )
    return f"LLMEmbeddingTransformer({model!r}{more})"


def _make_recipe(args):
    """The recipe that the options mean."""
    from sklearn_llm2vec._adapt.recipe import LLM2VecRecipe

    settings = dict(args.set)
    known = sorted(set(LLM2VecRecipe().get_params()) - {"stages"})
    unknown = [name for name in settings if name not in known]
    if unknown:
        args.parser.error(
            f"--set: LLM2VecRecipe has no parameter {unknown[0]!r}. It has "
            f"{', '.join(known)}"
        )
    supervised = "supervised" in args.recipe
    if supervised != bool(args.target or args.positive):
        need = "needs --target or --positive" if supervised else "takes no --target"
        args.parser.error(f"--recipe {args.recipe} {need}")
    if (args.target and args.positive) or (args.negative and not args.positive):
        args.parser.error("give --target, or --positive and optionally --negative")
    if args.positive and len(args.text) > 1:
        args.parser.error("with --positive, give one --text only")
    return LLM2VecRecipe(args.recipe, **settings)


def _read_training_rows(args):
    """What ``fit`` takes: texts, or pairs of texts; and classes, where there are any."""
    table = open_named_table(args)
    pair = {"positive": args.positive, "negative": args.negative}
    pair = {name: column for name, column in pair.items() if column}
    others = [args.target] if args.target else list(pair.values())
    survey = survey_texts(table, args, others, as_written=list(pair.values()))
    advice = "Name other columns with --positive and --negative."
    check_kinds(table, survey, list(pair.values()), ["text"], advice)
    frame = read_frame(table, survey, texts=args.text)
    if args.target:
        frame, target = split_target(frame, table, survey, args)
        return frame[args.text], as_classes(target)
    if pair:
        sides = {"text": args.text[0], **pair}
        return frame[list(sides.values())].set_axis(list(sides), axis=1), None
    return frame[args.text], None


def _losses_table(history):
    """Steps of each stage, and its mean loss in the first and in the last tenth."""
    by_stage = {}
    for stage, loss in zip(history["stage"], history["loss"], strict=True):
        by_stage.setdefault(stage, []).append(loss)
    rows = []
    for stage, losses in by_stage.items():
        tenth = max(1, len(losses) // 10)
        ends = (sum(part) / tenth for part in (losses[:tenth], losses[-tenth:]))
        rows.append([stage, f"{len(losses):,}", *(f"{loss:.4f}" for loss in ends)])
    return format_table(["stage", "steps", "loss, first tenth", "last tenth"], rows)


def _folder(words):
    folder = Path(words).expanduser()
    # "." has no name that a new folder could get.
    return folder if folder.name else folder.absolute()


def _check_folder(folder):
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(
            f"The folder {str(folder)!r} already exists and isn't empty. Choose "
            "another one."
        )
    check_parent(folder)
