"""
Question answering by retrieval
===============================

This example finds the page of a guide book that answers a question, and then the
sentence on that page. Both are searches for the nearest hidden state. The prompt around a
text is the parameter ``template``, and its values can be compared like any others.
"""

# %%
# The guide is about an island that doesn't exist, so that no model can know the
# answers.
import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics.pairwise import cosine_similarity

from sklearn_llm2vec import LLMEmbeddingTransformer

GUIDE = """
Ferry|The ferry from Norvik takes fifty minutes.|It sails four times a day in summer \
and twice in winter.|Bicycles travel free of charge.
Harbour|Visiting boats moor at the east quay.|The harbour master collects the fee in \
the evening.|The showers work with coins.
Lighthouse|It was built in 1871 of granite from the island itself.|Until 1968 a \
keeper and his family lived in it.|The climb to the lamp has 142 steps.
Museum|The museum is in the old salting house.|Its pride is a boat of the ninth \
century, found in the bog in 1934.|It is closed on Mondays.
Church|The wooden church stands on the hill above the village.|It burned down after \
a lightning strike in 1802 and was rebuilt within a year.|The organ came as ballast \
on a ship from Hamburg.
Birds|Some nine thousand puffins breed in the western cliffs.|They arrive in April \
and leave in the first week of August.|Drones are forbidden there all year.
Seals|Grey seals lie on the skerries south of the beach.|Pups are born in the \
autumn.|Keep a distance of a hundred metres.
Beach|The only sandy beach is at Langvik.|There is no lifeguard, and the current \
beyond the rocks is strong.|The sea reaches sixteen degrees in July.
Weather|It rains on two days out of three.|The strongest gust was measured in \
January 1991, at 58 metres a second.|Fog is commonest in June.
Walks|A marked path leads round the island in about five hours.|The markers are \
blue.|Sturdy boots are needed after rain, because the bog has no boardwalk.
Shop|The co-op sells food, gas bottles and stamps.|It shuts at six, on Saturdays at \
two.|Cards are accepted, but the terminal depends on the weather.
Inn|Lunch and dinner are served from May to September.|The fish soup follows a \
recipe of 1920.|Book a table, as there are only thirty seats.
Hostel|Twelve rooms are let in the former barracks.|Blankets are provided, sleeping \
bags are not allowed.|The largest dormitory holds eight.
Camping|Tents may stand on the meadow behind the football ground.|A night costs nine \
euros for each tent.|Open fires are prohibited.
Health|A nurse lives in the village and holds a surgery on weekday mornings.|The \
nearest hospital is on the mainland.|In an emergency a helicopter lands beside the \
school.
School|Eleven children are taught here.|The older ones board in Norvik during the \
week.|The teacher also runs the library.
Electricity|Two wind turbines and a battery supply the island.|A diesel engine \
starts when there is no wind for a day.|Before 1956 there was no current at all.
Water|It comes from a well in the valley and is treated with ultraviolet light.|In \
dry summers showers are limited to three minutes.|The tap on the quay is for boats \
only.
Sheep|Four hundred of them graze freely.|Dogs must therefore be on a lead.|The wool \
is spun in the old mill and sold as yarn.
Festival|On the last weekend of July the islanders race in old rowing boats.|The \
winner keeps a copper kettle for a year.|Afterwards there is dancing in the \
boathouse.
History|The first settlers came around the year 900.|In 1710 the plague left only \
seven households.|Herring brought wealth in the nineteenth century and was gone by \
1905.
Wreck|The steamer Aurora ran aground off the north point in 1889.|All passengers \
were saved by a line that was shot to the cliff.|Her bell hangs in the inn.
Plants|No tree grew here until a priest planted rowans around his house.|The rare \
oyster plant flowers on the shingle.|Picking orchids is punished with a fine.
Telephone|There is mobile reception in the village and on the hill only.|The library \
has a computer for guests.|A public telephone is kept for emergencies at the quay.
"""
pages = pd.DataFrame(
    [line.split("|", 1) for line in GUIDE.strip().splitlines()],
    columns=["heading", "text"],
)
sentences = pages.assign(page=pages.index, text=pages["text"].str.split("|"))
sentences = sentences.explode("text", ignore_index=True)
pages["text"] = pages["text"].str.replace("|", " ")

# Each question with the page and, counted from 0, the sentence that answers it. Most
# questions use other words than the page, like those of people who haven't read it.
QUESTIONS = """
How long does the crossing last?|Ferry|0
Do I have to pay for my bike on board?|Ferry|2
Where can I tie up my yacht?|Harbour|0
How do I pay for a hot wash at the marina?|Harbour|2
How many stairs are there up to the light?|Lighthouse|2
When did the last keeper move out?|Lighthouse|1
On which day can't I see the Viking ship?|Museum|2
How old is the vessel in the exhibition?|Museum|1
What destroyed the house of prayer?|Church|1
When do the puffins go away?|Birds|1
May I film the cliffs from the air?|Birds|2
In which season do seals have their young?|Seals|1
How warm is it for swimming?|Beach|2
Is anyone watching over the bathers?|Beach|1
What was the fiercest storm?|Weather|1
How much time do I need to hike around the coast?|Walks|0
Which colour do I follow on the trail?|Walks|1
Where can I buy stamps?|Shop|0
What is the closing time of the grocery?|Shop|1
Do I need a reservation for a meal?|Inn|2
Can I bring my own sleeping bag?|Hostel|1
What is the price of pitching a tent?|Camping|1
Am I allowed to light a campfire?|Camping|2
Who treats me if I feel ill?|Health|0
How many pupils are there?|School|0
Where does the power come from in a calm?|Electricity|1
How is what we drink made safe?|Water|0
May my dog run loose?|Sheep|1
What prize does the fastest crew get?|Festival|1
What made the islanders rich?|History|2
What happened to the people on board the Aurora?|Wreck|1
Who brought the first trees?|Plants|0
Where do I get a signal?|Telephone|0
"""
questions = pd.DataFrame(
    [line.split("|") for line in QUESTIONS.strip().splitlines()],
    columns=["text", "heading", "place"],
)
headings = pages["heading"].tolist()
answer_page = np.array([headings.index(one) for one in questions["heading"]])
answer_sentence = 3 * answer_page + questions["place"].astype(int).to_numpy()
print(len(pages), "pages,", len(sentences), "sentences,", len(questions), "questions")

# %%
# The first step is to find the page. The pages are a frame with two columns. A template
# that names both columns makes one vector from them, and ``"{text}"`` uses the text
# alone. Questions may have a template of their own, which models that were trained with
# instructions need.


def encode(template, texts):
    """Vectors of unit length of a frame's rows or a list's texts."""
    encoder = LLMEmbeddingTransformer(template=template, normalize=True, verbose=False)
    return encoder.fit_transform(texts)


asked = questions["text"].tolist()
whole_pages = pages["heading"] + ". " + pages["text"]
tfidf = TfidfVectorizer(stop_words="english", sublinear_tf=True).fit(whole_pages)
scores = {
    "TF-IDF of heading and text": cosine_similarity(
        tfidf.transform(asked), tfidf.transform(whole_pages)
    ),
    "text": encode("{text}", asked) @ encode("{text}", pages["text"]).T,
    "heading and text": encode("{text}", asked)
    @ encode("{heading}. {text}", pages[["heading", "text"]]).T,
    "the same, questions with a prefix": encode(
        "Question about an island: {text}", asked
    )
    @ encode("{heading}. {text}", pages[["heading", "text"]]).T,
}


def recall(scores, right):
    """Share of the questions whose answer is among the best k, for k from 1."""
    # Ties count against: where TF-IDF sees no common word, it has found nothing.
    own = scores[np.arange(len(right)), right][:, None]
    rank = (scores >= own).sum(axis=1)
    return (rank[:, None] <= np.arange(1, scores.shape[1] + 1)).mean(axis=0)


curves = {name: recall(one, answer_page) for name, one in scores.items()}
for name, curve in curves.items():
    print(f"{name:34} recall@1 {curve[0]:.2f}  @3 {curve[2]:.2f}  @8 {curve[7]:.2f}")

# %%
# The second step is to find the sentence, among those of the three best pages only.
# *The markers are blue* says little by itself; the heading of the page tells what it is
# about.
best_pages = np.argsort(-scores["text"], axis=1)[:, :3]
candidate = (sentences["page"].to_numpy() == best_pages[:, :, None]).any(axis=1)
for template, columns in {
    "{text}": ["text"],
    "{heading}. {text}": ["heading", "text"],
}.items():
    vectors = encode(template, sentences[columns])
    similarity = np.where(candidate, encode("{text}", asked) @ vectors.T, -1)
    right = similarity.argmax(axis=1) == answer_sentence
    print(f"{template:20} the answer is the first sentence for {right.mean():.0%}")

print("\nSome that went wrong:")
for i in np.flatnonzero(~right)[:5]:
    print(f"  {asked[i]}  {sentences['text'][similarity[i].argmax()]}")

# %%
# The left plot shows how many pages have to be read until the answer is among them, and
# the right one shows a question and the sentences of its three pages.
#
# The template of the pages hardly matters here. A prefix for the questions makes
# several of them fail, because MiniLM was trained without prompts. One question is worth
# 3 points.
#
# The result is a place in the text and not an answer. The nearest sentence isn't
# necessarily true, a question that the guide doesn't answer has a nearest sentence too,
# and answers that follow only from two sentences together aren't found.
figure, (left, panel) = plt.subplots(
    1, 2, figsize=(10.5, 4.6), width_ratios=(1, 1.1), layout="constrained"
)
k = np.arange(1, 9)
styles = ("s:", "o-", "^-", "v--")
colors = ("tab:orange", "tab:gray", "tab:blue", "black")
for (name, curve), style, color in zip(curves.items(), styles, colors, strict=True):
    left.plot(k, curve[: len(k)], style, color=color, label=name, markersize=5)
left.set(xlabel="pages looked at, k", ylabel="recall@k", ylim=(0, 1.02), xticks=k)
left.legend(loc="lower right", frameon=False, fontsize="small")

i = asked.index("Which colour do I follow on the trail?")
shown = np.flatnonzero(candidate[i])
shown = shown[np.argsort(similarity[i, shown])]
chosen = np.arange(len(shown)) == len(shown) - 1
labels = [
    textwrap.fill(f"{sentences['heading'][j]}: {sentences['text'][j]}", 46)
    for j in shown
]
panel.barh(labels, similarity[i, shown], color=np.where(chosen, "tab:blue", "0.8"))
panel.set(xlabel="cosine", title=asked[i])
panel.get_yticklabels()[-1].set_weight("bold")
panel.tick_params(axis="y", length=0, labelsize="small")
for ax in (left, panel):
    ax.spines[["top", "right"]].set_visible(False)
plt.show()
