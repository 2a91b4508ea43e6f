"""
Which layer, which pooling?
===========================

This example searches every layer of MiniLM with every pooling, on real sentences from
the docstrings of four sub-packages of SciPy. All 35 candidates with all their folds cost
one pass of the model.
"""

# %%
# The task is to find the sub-package of SciPy that a summary describes.
import importlib
import inspect

from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_llm2vec import (
    EmbeddingCache,
    LayerPoolingDisplay,
    LLMEmbeddingTransformer,
    layer_pooling_grid,
)

texts, labels = [], []
for name in ("linalg", "signal", "stats", "special"):
    module = importlib.import_module(f"scipy.{name}")
    for member in module.__all__:
        summary = (inspect.getdoc(getattr(module, member)) or "").split("\n\n")[0]
        if len(summary) > 20 and labels.count(name) < 80:
            texts.append(" ".join(summary.split()))
            labels.append(name)
print(len(texts), "texts, for example:", texts[0])

# %%
# ``layer_pooling_grid`` reads the number of layers from the model's configuration and
# makes the first pass of the search keep the vectors of all of them.
cache = EmbeddingCache()
before = cache.info()["texts_encoded"]
pipe = make_pipeline(
    LLMEmbeddingTransformer(cache=cache, verbose=False),
    StandardScaler(),
    LogisticRegression(C=0.01, max_iter=100),
)
search = GridSearchCV(pipe, layer_pooling_grid(pipe), cv=4).fit(texts, labels)
print(search.best_params_, round(search.best_score_, 3))
print(cache.info()["texts_encoded"] - before, "texts went through the model")

# %%
# In the heat map the best combination is marked.
LayerPoolingDisplay.from_search(search)
