"""
Adapting a model to a few labelled texts
========================================

MiniLM, and summary lines of SciPy's docstrings with eight labelled ones for each of four
sub-packages. ``adapt="supervised"`` trains LoRA adapters on the labelled lines only:
lines of one class are pulled together, others apart.
"""

# %%
# The data: which sub-package of SciPy does a summary line describe?
import importlib
import inspect

from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from sklearn_llm2vec import AdaptationDisplay, LLM2VecRecipe, LLMEmbeddingTransformer

texts, labels = [], []
for name in ("linalg", "signal", "stats", "special"):
    module = importlib.import_module(f"scipy.{name}")
    for member in module.__all__:
        lines = (inspect.getdoc(getattr(module, member)) or "").strip().splitlines()
        line = next((line for line in lines if len(line) > 20), "")
        if line and "(" not in line:
            texts.append(line)
            labels.append(name)
train, test, y_train, y_test = train_test_split(
    texts, labels, train_size=32, stratify=labels, random_state=0
)
print(len(train), "labelled lines,", len(test), "to be predicted")

# %%
# The recipe. Short names such as ``"supervised"`` stand for the paper's parameters,
# scaled to the number of texts; here there are few texts and few steps.
recipe = LLM2VecRecipe("supervised", supervised_steps=30, supervised_batch_size=16)
scores = {}
for name, adapt in (("as it is", None), ("adapted", recipe)):
    pipe = make_pipeline(
        LLMEmbeddingTransformer(
            adapt=adapt, cache=False, random_state=0, verbose=False
        ),
        LogisticRegression(max_iter=1000),
    )
    scores[name] = pipe.fit(train, y_train).score(test, y_test)
    print(f"{name}: accuracy {scores[name]:.3f}")

# %%
# The loss by step.
transformer = pipe[0]
AdaptationDisplay.from_estimator(transformer)

# %%
# What was learned is small and travels with the pickled pipeline.
n_bytes = sum(len(adapter.weights) for adapter in transformer.adapter_)
print(f"{n_bytes / 1e6:.1f} MB of adapters beside {len(transformer.adapter_)} stage")
