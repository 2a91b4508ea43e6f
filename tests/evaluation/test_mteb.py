"""The encoder for mteb, run by mteb: local tasks, and the scores of evaluate_*."""

import sys

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from sklearn_llm2vec import LLMEmbeddingTransformer
from sklearn_llm2vec.evaluation import (
    as_mteb_encoder,
    evaluate_classification,
    evaluate_clustering,
    evaluate_retrieval,
    evaluate_sts,
)

mteb = pytest.importorskip("mteb", reason="extra 'mteb'")
pytestmark = pytest.mark.filterwarnings("ignore")  # mteb's and its datasets' own

WORDS = "card payment money account bank cat dog table chair window book red".split()


def made_texts(n_texts, seed):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(2, 8))) for _ in range(n_texts)]


def labels_of(texts):
    """Three unbalanced classes that the texts tell, nearly."""
    return [(text.split()[0] < "c") + 2 * ("card" in text) for text in texts]


def metadata(name, kind, main_score, category="t2c"):
    return mteb.TaskMetadata(
        name=name,
        description="Made on the spot.",
        reference=None,
        dataset={"path": "none", "revision": "none"},
        type=kind,
        category=category,
        modalities=["text"],
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score=main_score,
        date=("2024-01-01", "2024-12-31"),
        domains=[],
        task_subtypes=[],
        license="cc0-1.0",
        annotations_creators="derived",
        dialect=[],
        sample_creation="created",
        bibtex_citation="",
    )


def run(task_class, data, encoder):
    """Scores of a task whose data are given, by mteb itself."""

    class LocalTask(task_class):
        def load_data(self, **kwargs):
            self.dataset = data
            self.data_loaded = True

    LocalTask.metadata = task_class.metadata
    result = mteb.evaluate(
        encoder, LocalTask(), cache=None, co2_tracker=False, show_progress_bar=False
    )
    (scores,) = result.task_results[0].scores["test"]
    return scores


@pytest.fixture
def encoder(llama, tmp_path):
    return LLMEmbeddingTransformer(llama, cache=str(tmp_path), normalize=True)


def test_it_is_an_encoder_and_nothing_else(encoder):
    from mteb.models.models_protocols import (
        CrossEncoderProtocol,
        EncoderProtocol,
        SearchProtocol,
    )

    made = as_mteb_encoder(encoder, name="me/mine", revision="1")
    assert isinstance(made, EncoderProtocol)
    assert not isinstance(made, (SearchProtocol, CrossEncoderProtocol))
    assert made.mteb_model_meta.name == "me/mine"
    assert made.mteb_model_meta.revision == "1"
    vectors = np.array([[3.0, 4.0], [1.0, 0.0]])
    assert made.similarity(vectors, vectors).numpy() == pytest.approx(
        np.array([[1, 0.6], [0.6, 1]])
    )
    pairs = made.similarity_pairwise(vectors, vectors[[1, 0]])
    assert pairs.numpy() == pytest.approx([0.6, 0.6])


def test_results_of_two_encoders_are_never_mixed(encoder):
    first, second = (as_mteb_encoder(encoder).mteb_model_meta for _ in range(2))
    assert first.name == second.name
    assert first.revision != second.revision


def test_classification(encoder):
    from datasets import Dataset, DatasetDict
    from mteb.abstasks.classification import AbsTaskClassification

    class Task(AbsTaskClassification):
        metadata = metadata("LocalClassification", "Classification", "accuracy")
        samples_per_label = 5
        n_experiments = 4

    parts = {"train": made_texts(90, 0), "test": made_texts(60, 1)}
    data = DatasetDict(
        {
            part: Dataset.from_dict({"text": texts, "label": labels_of(texts)})
            for part, texts in parts.items()
        }
    )
    theirs = run(Task, data, as_mteb_encoder(encoder))
    ours = evaluate_classification(
        encoder,
        parts["train"],
        labels_of(parts["train"]),
        parts["test"],
        labels_of(parts["test"]),
        n_per_class=5,
        n_draws=4,
        random_state=42,
    ).pivot(index="draw", columns="metric", values="value")
    # The same texts in each draw, so the same values, not only the same mean.
    for n, experiment in enumerate(theirs["scores_per_experiment"]):
        assert experiment["accuracy"] == pytest.approx(ours["accuracy"][n], abs=1e-12)
        assert experiment["f1"] == pytest.approx(ours["f1_macro"][n], abs=1e-12)
    assert len(set(ours["f1_macro"])) == 4
    assert theirs["main_score"] == pytest.approx(ours["accuracy"].mean())


def test_similarity(encoder):
    from datasets import Dataset, DatasetDict
    from mteb.abstasks.sts import AbsTaskSTS

    class Task(AbsTaskSTS):
        metadata = metadata("LocalSTS", "STS", "cosine_spearman", "t2t")
        min_score, max_score = 0, 5

    first, second = made_texts(50, 0), made_texts(50, 1)
    scores = np.random.default_rng(0).uniform(0, 5, 50)
    data = DatasetDict(
        test=Dataset.from_dict(
            {"sentence1": first, "sentence2": second, "score": scores}
        )
    )
    theirs = run(Task, data, as_mteb_encoder(encoder))
    ours = evaluate_sts(encoder, first, second, scores).set_index("metric")["value"]
    assert theirs["cosine_spearman"] == pytest.approx(ours["spearman"], abs=1e-6)
    assert theirs["cosine_pearson"] == pytest.approx(ours["pearson"], abs=1e-6)
    assert theirs["spearman"] == pytest.approx(ours["spearman"], abs=1e-6)


@pytest.mark.parametrize(
    "templates", [(None, None), ("the {text}", "{text} for a cat")]
)
def test_retrieval(encoder, templates):
    from datasets import Dataset
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    class Task(AbsTaskRetrieval):
        metadata = metadata("LocalRetrieval", "Retrieval", "ndcg_at_10", "t2t")

    rng = np.random.default_rng(0)
    documents = dict.fromkeys(made_texts(200, 0))
    documents = {f"d{n}": text for n, text in enumerate(documents)}
    queries = {f"q{n}": text for n, text in enumerate(made_texts(30, 1))}
    relevance = {
        query: {
            f"d{n}": int(rng.integers(1, 4))
            for n in rng.choice(len(documents), 8, replace=False)
        }
        for query in list(queries)[:25]
    }
    data = {
        "default": {
            "test": {
                "corpus": Dataset.from_list(
                    [{"id": i, "text": t, "title": ""} for i, t in documents.items()]
                ),
                "queries": Dataset.from_list(
                    [{"id": i, "text": t} for i, t in queries.items()]
                ),
                "relevant_docs": relevance,
                "top_ranked": None,
            }
        }
    }
    names = ("query_template", "document_template")
    chosen = dict(zip(names, templates, strict=True))
    encoder.set_params(pooling="last")  # its state depends on the whole prompt
    theirs = run(Task, data, as_mteb_encoder(encoder, **chosen))
    ours = evaluate_retrieval(encoder, queries, documents, relevance, **chosen)
    assert ours["n_left_out"].tolist() == [5] * 4
    ours = ours.set_index("metric")["value"]
    # mteb rounds to five digits.
    for name in ("ndcg_at_10", "recall_at_10", "recall_at_100"):
        assert theirs[name] == pytest.approx(ours[name], abs=6e-6)
    assert theirs["map_at_1000"] == pytest.approx(ours["map"], abs=6e-6)
    if templates != (None, None):
        bare = evaluate_retrieval(encoder, queries, documents, relevance)
        assert abs(bare.set_index("metric")["value"]["map"] - ours["map"]) > 1e-4


def test_clustering(encoder):
    from datasets import Dataset, DatasetDict
    from mteb.abstasks.clustering_legacy import AbsTaskClusteringLegacy

    class Task(AbsTaskClusteringLegacy):
        metadata = metadata("LocalClustering", "Clustering", "v_measure")

    texts = made_texts(120, 0)
    sets = {"sentences": [texts], "labels": [labels_of(texts)]}
    data = DatasetDict(test=Dataset.from_dict(sets))
    theirs = run(Task, data, as_mteb_encoder(encoder))
    ours = evaluate_clustering(
        encoder, texts, labels_of(texts), n_draws=1, random_state=42
    )
    assert theirs["v_measure"] == pytest.approx(ours["value"][0], abs=1e-12)


def test_any_transformer_is_an_encoder():
    from datasets import Dataset
    from torch.utils.data import DataLoader

    hashing = HashingVectorizer(n_features=16)
    if hashing.__sklearn_tags__().requires_fit:
        pytest.skip("this scikit-learn wants HashingVectorizer to be fitted")
    texts = made_texts(70, 0)
    batches = DataLoader(Dataset.from_dict({"text": texts}), batch_size=32)
    got = as_mteb_encoder(hashing).encode(
        batches, task_metadata=None, hf_split="test", hf_subset="default", batch_size=32
    )
    assert got.tolist() == hashing.transform(texts).toarray().tolist()
    assert as_mteb_encoder(hashing).mteb_model_meta.name.endswith("/HashingVectorizer")


def test_errors(encoder, monkeypatch):
    with pytest.raises(NotFittedError):
        as_mteb_encoder(TfidfVectorizer())
    with pytest.raises(TypeError, match="'transformer' parameter of as_mteb_encoder"):
        as_mteb_encoder(LogisticRegression())
    with pytest.raises(ValueError, match="one 'template' parameter"):
        as_mteb_encoder(TfidfVectorizer().fit(["a card"]), query_template="{text}")
    monkeypatch.setitem(sys.modules, "mteb.models", None)
    with pytest.raises(ImportError, match=r"pip install .*\[mteb\]"):
        as_mteb_encoder(encoder)
