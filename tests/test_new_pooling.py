"""A pooling that is added to the one registry is everywhere: nothing else names them."""

import subprocess
import sys

# In a process of its own, before the package's other files are imported: as if the entry
# stood in the file.
REGISTER = """
from sklearn_llm2vec._network.pooling import POOLINGS, Pooling

def smallest(tokens):
    states = tokens.states.masked_fill(~tokens.counted[:, :, None], float("inf"))
    return states.amin(1)

POOLINGS["min"] = Pooling(smallest, lambda windows, n_counted: windows.min(0))
"""

USE = """
import sys
import numpy as np, torch, transformers
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn_llm2vec import (
    EmbeddingCache, LLMEmbeddingTransformer, LayerPoolingDisplay, LayerPoolingReport,
    layer_pooling_grid,
)
from sklearn_llm2vec.cli._options import make_parser

folder, place = sys.argv[1:]
texts = ["the red card", "cat", "small dog runs", "bank fee", "red table", "a cat sleeps"]
long = " ".join(["cash table", *texts] * 3)

# The values, and the windows of a long text against all of their states.
encoder = LLMEmbeddingTransformer(
    folder, pooling="min", layer=2, max_length=8, long_texts="chunk", cache=None
)
got = encoder.fit_transform(["cat", long])
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
network = transformers.AutoModel.from_pretrained(folder).eval()
for text, vector in zip(["cat", long], got):
    bos, *ids = tokenizer(text)["input_ids"]
    parts = [ids[at : at + 7] for at in range(0, len(ids), 7)]
    with torch.inference_mode():
        states = torch.cat([
            network(torch.tensor([[bos, *part]]), output_hidden_states=True)
            .hidden_states[2][0, 1:] for part in parts
        ])
    np.testing.assert_allclose(vector, states.amin(0), rtol=2e-5, atol=2e-6)

# A search over all poolings that tell texts apart, in one pass.
useful = [pooling for pooling in POOLINGS if pooling != "first"]
pipe = make_pipeline(LLMEmbeddingTransformer(folder, cache=place), LogisticRegression())
grid = layer_pooling_grid(pipe)
assert grid["llmembeddingtransformer__pooling"][0].cells == ("all", tuple(useful))
assert grid["llmembeddingtransformer__pooling"][-1] == "min"
search = GridSearchCV(pipe, grid, cv=2).fit(texts, [0, 1, 1, 0, 0, 1])
assert EmbeddingCache(place).info()["texts_encoded"] == len(texts)
display = LayerPoolingDisplay.from_search(search)
assert [tick.get_text() for tick in display.ax_.get_yticklabels()] == useful
LayerPoolingReport.from_search(search).save(place + "/report.html")
assert ">min<" in open(place + "/report.html").read()

# The command line, and what an error lists.
args = make_parser().parse_args(
    ["embed", "t.csv", "--text", "a", "-o", "t.npy", "--pooling", "min"]
)
assert args.pooling == "min"
args = make_parser().parse_args(
    ["search", "t.csv", "--text", "a", "--target", "b", "--poolings", "min"]
)
assert args.poolings == ["min"]
try:
    LLMEmbeddingTransformer(folder, pooling="avg", cache=None).fit(texts)
except ValueError as error:
    assert "'max', 'min'" in str(error), error
print("as it should be")
"""


def test_a_new_pooling_needs_one_entry(llama, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", REGISTER + USE, llama, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "as it should be", done.stderr
