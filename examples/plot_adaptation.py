"""
Adapting a model to a few labeled texts
========================================

This example adapts MiniLM to summary lines of SciPy's docstrings, with eight labeled
lines for each of four sub-packages. ``adapt="supervised"`` trains LoRA adapters on the
labeled lines only, so that lines of the same class move together and others apart.
"""

# %%
# The task is to find the sub-package of SciPy that a summary line describes.
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
print(len(train), "labeled lines,", len(test), "to be predicted")

# %%
# A short name such as ``"supervised"`` uses the paper's parameters, scaled to the
# number of texts. As this example has few texts, its recipe has few steps.
recipe = LLM2VecRecipe("supervised", supervised_steps=30, supervised_batch_size=16)
scores = {}
for name, adapt in (("not adapted", None), ("adapted", recipe)):
    pipe = make_pipeline(
        LLMEmbeddingTransformer(
            adapt=adapt, cache=False, random_state=0, verbose=False
        ),
        LogisticRegression(max_iter=1000),
    )
    scores[name] = pipe.fit(train, y_train).score(test, y_test)
    print(f"{name}: accuracy {scores[name]:.3f}")

# %%
# The display draws the loss by step.
transformer = pipe[0]
AdaptationDisplay.from_estimator(transformer)

# %%
# The adapters are small and are part of the pickled pipeline.
n_bytes = sum(len(adapter.weights) for adapter in transformer.adapter_)
print(f"{n_bytes / 1e6:.1f} MB of adapters for {len(transformer.adapter_)} stage")
