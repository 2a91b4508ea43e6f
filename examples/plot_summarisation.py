"""
Extractive summarization by centrality
======================================

Which four sentences summarize an article best? Those that are similar to many others:
they are visited most often by a random walk that prefers similar sentences as its next
step. This is LexRank [1]_, with cosines of hidden states in place of common words.
"""

# %%
# An article, written for this example.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.preprocessing import normalize

from sklearn_llm2vec import LLMEmbeddingTransformer

sentences = """
The town of Brenmoor has removed the weir from its river after two hundred years.
On Tuesday morning an excavator lifted the last stones of the weir out of the Arle.
By the afternoon the water was running freely past the mill for the first time since 1820.
Three hundred people watched from the bridge, and the bakery ran out of rolls by ten.
The weir had been built to drive a paper mill.
The mill closed in 1974, and its wheel has stood still ever since.
Its owner, a retired engineer, meant to produce electricity but never found the money.
Without repairs it began to leak, and after the flood of 2019 it was called a danger.
For fish the weir was a dead end.
Salmon and sea trout could not pass it to reach the gravel beds upstream where they spawn.
Biologists counted four salmon below the weir last autumn, and none above it.
A fish ladder was tried in the nineties, but most fish did not find its entrance.
With the weir gone, forty kilometres of river are open to salmon and trout again.
The biologists expect the first salmon to spawn upstream within three years.
The removal of the weir should also lower the risk of floods in the town.
Behind the weir sand had piled up, so the river bed lay almost as high as the streets.
In 2019 the water stood a metre deep in the market square.
By the engineers' model the same flood would now stay forty centimetres lower.
Not everyone is pleased.
The rowing club has lost the calm water on which it trained.
Some residents will miss the sound of the falls, and 1,100 signed a petition for the weir.
The angling society, on the other hand, paid for a part of the work.
The project cost 2.4 million pounds, most of it from a national fund for rivers.
Two more weirs downstream are to be removed by 2030.
The stones of the wall will become a bench beside the bridge.
The mayor, who wore rubber boots for the occasion, called it the best day of her term.
""".strip().splitlines()

# %%
# The graph consists of the cosines of all pairs. With common words most pairs of
# sentences have a weight of zero, while hidden states give nearly every pair a weight.
cosines = {
    "TF-IDF": cosine_similarity(
        TfidfVectorizer(stop_words="english").fit_transform(sentences)
    ),
    "hidden states": cosine_similarity(
        LLMEmbeddingTransformer(verbose=False).fit_transform(sentences)
    ),
}
pairs = np.triu_indices(len(sentences), 1)
for name, cosine in cosines.items():
    linked = (cosine[pairs] > 0.1).mean()
    print(f"{name:14} {linked:4.0%} of the pairs have a cosine above 0.1")

# %%
# The centrality of a sentence is how often the random walk visits it in the long run.
# With a probability of 0.15 a step goes to any sentence, so that the walk can't get
# caught in a part of the graph. Repeated multiplication by the matrix of steps gives the
# centralities.


def centrality(cosine, damping=0.85):
    """Share of a random walk's time at each sentence; 1 is the average."""
    n = len(cosine)
    weights = np.clip(cosine, 0, None)
    np.fill_diagonal(weights, 0)
    steps = damping * normalize(weights, norm="l1") + (1 - damping) / n
    steps = normalize(steps, norm="l1")  # a sentence without neighbors goes anywhere
    share = np.full(n, 1 / n)
    for _ in range(100):  # what is missing shrinks by the damping in each
        share = share @ steps
    return n * share


# %%
# The summary consists of the most central sentences, except those that are too similar to
# one that was chosen before.


def choose(score, cosine, n_sentences=4, most_similar=0.6):
    """Places of the best sentences, in the order of the text."""
    chosen = []
    for i in np.argsort(-score):
        if (
            len(chosen) < n_sentences
            and cosine[i, chosen].max(initial=0) < most_similar
        ):
            chosen.append(i)
    return sorted(chosen)


scores = {name: centrality(cosine) for name, cosine in cosines.items()}
chosen = {name: choose(scores[name], cosines[name]) for name in scores}
for name, places in chosen.items():
    print(f"\n{name}:")
    for i in places:
        print(f"  {i + 1:2}  {sentences[i]}")

# %%
# The plot shows the centrality of each sentence and the chosen ones. With TF-IDF the
# words *water*, *stood* and *2019*, which number 17 shares with four sentences about
# three different things, are enough to put it into the summary. The four sentences
# chosen by hidden states are about the mill, the fish, the floods and the future.
#
# Centrality finds the topics that an article returns to. It doesn't know what is new, so
# for newspaper articles the first sentences are a strong baseline. Extracted sentences
# can also contain a *they* or *there* whose reference is missing.
#
# .. [1] Erkan and Radev, "LexRank: Graph-based Lexical Centrality as Salience in Text
#    Summarization", JAIR 22, 2004.
figure, ax = plt.subplots(figsize=(9.5, 7), layout="constrained")
place = np.arange(len(sentences))
is_chosen = np.isin(place, chosen["hidden states"])
ax.barh(place, scores["hidden states"], color=np.where(is_chosen, "tab:blue", "0.8"))
ax.plot(scores["TF-IDF"], place, "|", color="black", markersize=9)
ax.axvline(1, color="0.4", linewidth=0.8, linestyle=":")
shortened = [s if len(s) < 66 else s[:63].rsplit(" ", 1)[0] + " ..." for s in sentences]
ax.set_yticks(place, [f"{s}  {i + 1:2}" for i, s in enumerate(shortened)])
for label, bold in zip(ax.get_yticklabels(), is_chosen, strict=True):
    label.set_weight("bold" if bold else "normal")
ax.tick_params(axis="y", length=0, labelsize="small")
ax.invert_yaxis()
ax.set(xlabel="centrality (1 is the average); bars: hidden states, ticks: TF-IDF")
ax.set_title(
    "In blue: the sentences that hidden states choose", loc="left", fontsize="medium"
)
ax.spines[["top", "right", "left"]].set_visible(False)
plt.show()
