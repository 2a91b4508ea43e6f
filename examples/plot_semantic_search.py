"""
Semantic search over a small corpus
===================================

People who search a help page rarely use its words. This example compares nearest
neighbors of hidden states of MiniLM with those of TF-IDF vectors, for queries that share
no word with the right article, for queries that share some, and for product codes.
"""

# %%
# The corpus consists of one-line articles of a help desk, written for this example.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neighbors import KNeighborsTransformer, NearestNeighbors
from sklearn.pipeline import make_pipeline

from sklearn_llm2vec import LLMEmbeddingTransformer

articles = """
Reset your password with the link on the sign-in page.
Connect to the office network from home with the VPN client.
Set up an automatic reply in your mailbox before a holiday.
Clear a paper jam in the printer on the second floor.
Report a lost or stolen laptop at once.
Request a second monitor for your desk.
Recover a deleted file from the nightly backup.
Share a calendar with colleagues.
Join a video conference with your microphone muted.
Claim travel expenses with photographed receipts.
Install approved software from the company store.
Report a suspicious email as phishing.
Encrypt a USB stick before you copy customer data.
Book a meeting room with a projector.
Change the language of your keyboard.
Free disk space by emptying the temporary folder.
Forward calls to your mobile phone.
Register your fingerprint for the door lock.
Replace the battery of a wireless mouse.
Update the operating system outside working hours.
Add a signature with the company logo to your messages.
Ask for access to a protected folder.
Charge an electric car in the garage.
Enter sick leave in the staff portal.
Adjust brightness and font size for tired eyes.
Turn on captions in recorded trainings.
Close an account when somebody leaves the team.
Speed up a slow browser by removing extensions.
Connect wireless headphones.
Order business cards in German or English.
Move large videos with the transfer service instead of attachments.
Print on both sides of the sheet.
E4012: the licence server does not answer.
E4021: the licence has expired.
E4102: all licences are in use.
E4120: this licence is for another country.
E7100: the scanner cover is open.
E7101: the scanner lamp must warm up.
E7110: the scanner has lost its settings.
Firmware of the dock LX-220.
Firmware of the dock LX-230.
Firmware of the dock LX-320.
""".strip().splitlines()

# Each query with the first words of the article that answers it.
queries = {
    "in other words": {
        "I can't remember my login secret": "Reset your password",
        "working remotely through a secure tunnel": "Connect to the office",
        "tell people who write to me that I am on vacation": "Set up an automatic",
        "somebody took my computer on the train": "Report a lost",
        "I need one more display": "Request a second",
        "I threw away a document by accident": "Recover a deleted",
        "get back the money that I paid for the hotel": "Claim travel",
        "is this strange message a scam?": "Report a suspicious",
        "my hard drive is full": "Free disk",
        "I have the flu and stay in bed": "Enter sick",
        "letters are too small to read": "Adjust brightness",
        "subtitles for people who hear badly": "Turn on captions",
        "web pages take ages to load": "Speed up",
        "the pointer does not move any more": "Replace the battery",
        "plug in my vehicle downstairs": "Charge an electric",
        "send a huge clip to a partner": "Move large",
    },
    "with a word in common": {
        "forgotten password": "Reset your password",
        "the printer has a jam": "Clear a paper",
        "room for a meeting of ten": "Book a meeting",
        "let others see my calendar": "Share a calendar",
        "who may open this folder?": "Ask for access",
        "cannot hear anything in my headphones": "Connect wireless",
    },
    "codes": {
        "since Monday it says E4012 when I start": "E4012",
        "a window with E4021 came up": "E4021",
        "what does E4120 mean?": "E4120",
        "E7101 again and again": "E7101",
        "code E7110 on my desk": "E7110",
        "new LX-230 flickers on both sides": "Firmware of the dock LX-230",
        "LX-320 is hot": "Firmware of the dock LX-320",
    },
}
rows = [
    (kind, query, next(i for i, a in enumerate(articles) if a.startswith(start)))
    for kind, pairs in queries.items()
    for query, start in pairs.items()
]
kinds, asked, answers = map(np.array, zip(*rows, strict=True))
print(len(articles), "articles,", len(asked), "queries")

# %%
# Do queries of the first kind really share no word with their articles? Compare the
# words that TF-IDF uses.
words = TfidfVectorizer(stop_words="english").build_analyzer()
for kind in queries:
    shared = [
        len(set(words(query)) & set(words(articles[answer])))
        for query, answer in zip(
            asked[kinds == kind], answers[kinds == kind], strict=True
        )
    ]
    print(f"{kind:22} words in common with the right article: {shared}")

# %%
# A search engine takes two lines. ``NearestNeighbors`` is used on the vectors, because
# a pipeline that ends in it has no ``kneighbors`` method.
encoder = LLMEmbeddingTransformer(verbose=False)
neighbors = NearestNeighbors(metric="cosine").fit(encoder.fit_transform(articles))

question = ["my hard drive is full"]
distances, found = neighbors.kneighbors(encoder.transform(question), n_neighbors=3)
for distance, i in zip(distances[0], found[0], strict=True):
    print(f"cosine {1 - distance:.2f}  {articles[i]}")

# %%
# ``KNeighborsTransformer`` can be a step of a pipeline, which is a single object to be
# pickled or served. It returns the distances of the neighbors as a sparse matrix.
engine = make_pipeline(
    LLMEmbeddingTransformer(verbose=False),
    KNeighborsTransformer(mode="distance", metric="cosine", n_neighbors=3),
).fit(articles)
print(engine.transform(question).shape)

# %%
# The comparison uses the rank of the right article among all articles. Articles at
# equal distances get the mean of their ranks. For TF-IDF all articles without a common
# word are at the same distance, so this corresponds to a random order.


def similarities(vectorizer):
    """Cosine of each query and article, of shape (n_queries, n_articles)."""
    neighbors = NearestNeighbors(n_neighbors=len(articles), metric="cosine")
    neighbors.fit(vectorizer.fit_transform(articles))
    graph = neighbors.kneighbors_graph(vectorizer.transform(asked), mode="distance")
    return 1 - graph.toarray().round(6)


def ranks(similarity):
    """Rank of the right article for each query, from 1; ties share their mean."""
    right = similarity[np.arange(len(answers)), answers][:, None]
    better = (similarity > right).sum(axis=1)
    return 1 + better + ((similarity == right).sum(axis=1) - 1) / 2


found_by = {
    "TF-IDF": similarities(TfidfVectorizer(stop_words="english", sublinear_tf=True)),
    "hidden states": similarities(LLMEmbeddingTransformer(verbose=False)),
}
found_by["sum of both"] = sum(found_by.values())
print(f"{'right article first':22}", *(f"{name:>14}" for name in found_by))
for kind in queries:
    of_kind = kinds == kind
    firsts = [(ranks(one)[of_kind] == 1).sum() for one in found_by.values()]
    print(f"{kind:22}", *(f"{n:>8} of {of_kind.sum():2}" for n in firsts))

# %%
# The plot shows for each query how far down the list its article is. Hidden states find
# what is meant, but can confuse codes: the model reads them in pieces, so similar codes
# have similar states, while TF-IDF matches them exactly. Adding the two cosines
# corrects this at the cost of a few queries in other words, where accidental matches of
# TF-IDF count as much. Search engines therefore weight the two.
figure, ax = plt.subplots(figsize=(8, 7.6), layout="constrained")
order = {kind: i for i, kind in enumerate(queries)}
places = np.arange(len(asked)) + 1.6 * np.array([order[kind] for kind in kinds])
by_words, by_states = ranks(found_by["TF-IDF"]), ranks(found_by["hidden states"])
ax.hlines(places, by_words, by_states, color="0.8", zorder=1)
ax.scatter(
    by_words,
    places,
    75,
    marker="s",
    color="white",
    edgecolor="tab:orange",
    linewidth=2,
    label="TF-IDF",
)
ax.scatter(by_states, places, 25, color="tab:blue", label="hidden states", zorder=3)
for kind in queries:
    ax.annotate(
        kind,
        (0, places[kinds == kind][0]),
        xycoords=("axes fraction", "data"),
        xytext=(-8, 13),
        textcoords="offset points",
        ha="right",
        weight="bold",
    )
ax.set_xscale("log")
ax.set_xticks([1, 2, 5, 10, 20, 40], [1, 2, 5, 10, 20, 40])
ax.minorticks_off()
ax.set_yticks(places, asked)
ax.invert_yaxis()
ax.set_xlabel(f"rank of the right article among {len(articles)} (left is better)")
ax.spines[["top", "right", "left"]].set_visible(False)
ax.tick_params(axis="y", length=0)
ax.legend(loc="lower right")
plt.show()
