"""Pictures of the command line: figures in files, and no window."""

from sklearn_llm2vec._common.extras import not_installed
from sklearn_llm2vec._common.whole_files import whole_file


def find_pyplot():
    """pyplot, drawing into files; raise with the pip line when matplotlib is absent."""
    try:
        import matplotlib
    except ImportError as error:
        raise not_installed("The option --png", "matplotlib", "plot") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def save_figure(draw, path):
    """Write what a function draws, a display of scikit-learn's kind, as a PNG file."""
    pyplot = find_pyplot()
    figure = draw().figure_
    with whole_file(path) as file:
        figure.savefig(file, format="png", dpi=150)
    pyplot.close(figure)
