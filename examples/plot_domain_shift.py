"""
Domain shift
============

A classifier of opinions is trained on reviews of hotels. Does it recognize a bad review
of a computer? It does so to the extent that opinions are expressed in the same words in
both domains, or in words that the model considers similar, which depends on the layer.
"""

# %%
# The data are short reviews of hotels and of electronics, written for this example.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_llm2vec import LLMEmbeddingTransformer

REVIEWS = {
    ("hotel", "good"): """
The room was clean and the bed very comfortable.
Friendly, helpful staff who remembered our names after one day.
We loved the view of the harbour from the balcony.
Excellent breakfast, fresh and served until eleven.
Quiet at night although the station is around the corner.
They upgraded us to a suite without our asking.
The most comfortable bed I have had in months.
A clean, spacious bathroom with plenty of hot water.
A charming old house and a warm, friendly welcome.
The receptionist was so helpful and found us a taxi.
Great location, five minutes on foot from the cathedral.
Our children loved the pool.
Check-in was quick and the staff were lovely.
Great value for such a central place.
The garden is beautiful and quiet, in the middle of town.
Soft towels, good coffee, thick curtains: perfect.
I would recommend it without hesitation.
The cook prepared a delicious gluten-free breakfast just for me.
Everything smelled fresh and looked newly painted.
Even the smallest single room was clean and comfortable.
They looked after our luggage long after checkout.
A lovely surprise: free bicycles for guests.
The sauna alone is worth the trip, we loved it.
Friendly night porter, and a lift that is big enough for a wheelchair.
Exactly as pictured, if not nicer.
The owner gave us wonderful tips for walks.
Bright, clean and beautifully furnished.
A delicious dinner on the terrace was the highlight of our holiday.
Excellent service from the first day to the last.
We stayed three nights longer because it was so perfect.
""",
    ("hotel", "bad"): """
The carpet was dirty and the room smelled of smoke.
Rude staff, and nobody answered the bell at reception.
Our window faced a wall and would not open.
Breakfast was cold and terrible, with no bread left by nine.
Noisy: we could hear every word from the corridor all night.
They charged us twice and refused a refund.
The bed was so uncomfortable that my back hurt for days.
Dirty bathroom, mould in the shower and hair in the sink.
The air conditioning was noisy and then broke.
Rude waiter, dirty glasses, tiny portions.
Miles from the centre, a terrible location.
The pool was closed without any notice, very disappointing.
Our booking had vanished and nobody apologised.
Far too expensive for such a poor place.
Cockroaches in the bathroom, the worst night of the trip.
The lift was broken and we were on the sixth floor.
I would never stay here again.
Thin towels, bad coffee, a lamp without a bulb.
The heating was broken and we slept in our coats.
The photographs must be twenty years old; we were so disappointed.
Check-in was slow and the receptionist rude.
The sheets were dirty and had not been changed.
Somebody walked into our room in the middle of the night.
Parking was expensive, more than dinner.
A dark, noisy room with a view of the bins.
The wifi was slow and nobody cared.
We left a day early and lost our money.
The manager was rude when we complained.
Poor service, and water dripped from the ceiling.
A disappointing end to our honeymoon.
""",
    ("electronics", "good"): """
Great battery, it lasts two full days.
Excellent picture with deep blacks, I love it.
Easy to set up, it took less than five minutes.
These headphones are comfortable and block out the whole office.
Fast, quiet and cool even under load.
A great keyboard with just the right resistance.
It survived a fall onto concrete without a scratch.
Excellent microphone, everybody hears me clearly.
The camera takes beautiful pictures in the dark.
Great value, worth every penny.
So much better than my old printer.
Updates arrive every month and really improve things.
Light and comfortable enough to carry all day.
The sound is perfect and fills the whole living room.
Easy to connect to my phone, and it works perfectly.
Great value compared with the big brands.
The screen is bright and clear, even in the garden.
It charges fast, from empty in forty minutes.
So easy that my grandmother learned it in an afternoon.
Solid case, lovely finish, I would recommend it.
Excellent customer service, a new one came the next morning.
I love it and bought a second one for my brother.
The manual is short and clear.
Games run fast at the highest settings.
Works perfectly, exactly what it promises.
The vacuum always finds its way back to the dock.
Ten years old and still works like new.
The pen feels great, like a real pencil.
Calls are clear and free of echo.
I love this reader and can't travel without it.
""",
    ("electronics", "bad"): """
Terrible battery, flat by lunchtime.
The screen flickers and has three dead pixels.
It stopped working after a week.
Cheap headphones, the left one broke at once.
The fan is noisy as soon as I open a browser.
A poor keyboard, half of the keys stick.
The hinge broke on the second day.
Poor microphone, people can't understand me on calls.
The camera is terrible, everything comes out blurred.
A waste of money.
The printer jams on every other page, very disappointing.
The last update broke the alarm and the calendar.
Heavy, uncomfortable and ugly.
Poor sound without any bass.
The connection is slow and drops whenever I leave the room.
Expensive, and the plastic is cheap.
I can't read anything on it in daylight.
The charger gets so hot that it scares me.
The menus are slow and make no sense at all.
It was broken when I took it out of the box.
Terrible support, my three emails were never answered.
I sent it back the same day and want a refund.
The manual is useless, in a language I don't know.
Slow: every game stutters, even the old ones.
Nothing about it is as advertised, I am so disappointed.
The robot falls down the stairs.
Stopped working just after the guarantee ran out.
The pen is slow and lags behind my hand.
The speaker makes an annoying noise.
The worst thing I ever bought.
""",
}
texts, domain, opinion = [], [], []
for (where, what), lines in REVIEWS.items():
    new = lines.strip().splitlines()
    texts += new
    domain += [where] * len(new)
    opinion += [what] * len(new)
texts, domain, opinion = map(np.array, (texts, domain, opinion))
hotel, electronics = domain == "hotel", domain == "electronics"
print(hotel.sum(), "reviews of hotels,", electronics.sum(), "of electronics")

# %%
# Each kind of features is tested in three ways. How good is a classifier of opinions on
# reviews of its own domain (ten-fold cross-validation)? How good is it on the other
# domain, of which it has seen nothing? And can a classifier tell the domains apart? The
# last test needs no labels, so it can detect a shift on any texts.
folds = StratifiedKFold(10, shuffle=True, random_state=0)


def judge(pipeline):
    """Accuracy at home, accuracy abroad, and AUC of telling the domains apart."""
    home, abroad = [], []
    for here, there in ((hotel, electronics), (electronics, hotel)):
        home += [cross_val_score(pipeline, texts[here], opinion[here], cv=folds).mean()]
        pipeline.fit(texts[here], opinion[here])
        abroad += [pipeline.score(texts[there], opinion[there])]
    auc = cross_val_score(pipeline, texts, domain, cv=folds, scoring="roc_auc").mean()
    return np.mean(home), np.mean(abroad), auc


# %%
# With ``keep="all"`` the first pass stores every layer, and later ones come from the
# cache.
tfidf = judge(
    make_pipeline(TfidfVectorizer(stop_words="english"), LogisticRegression())
)
pipeline = make_pipeline(
    LLMEmbeddingTransformer(pooling="mean", keep="all", verbose=False),
    StandardScaler(),
    LogisticRegression(C=0.01),
)
layers = range(7)
by_layer = np.array(
    [judge(pipeline.set_params(llmembeddingtransformer__layer=k)) for k in layers]
)
print(f"{'':10} own domain  other domain  AUC of the domain")
for name, row in [("TF-IDF", tfidf), *((f"layer {k}", by_layer[k]) for k in layers)]:
    print(f"{name:10} {row[0]:10.2f}  {row[1]:12.2f}  {row[2]:17.2f}")

# %%
# TF-IDF is better on the other domain than on its own! The nearest neighbors show why.
# Within a domain, the review with the most words in common is about the same thing, a
# bed or a battery, and in these data most things are praised once and criticized once.
# Across domains, reviews have only words of opinion in common.
vectors = TfidfVectorizer(stop_words="english").fit_transform(texts)
similarity = cosine_similarity(vectors)
np.fill_diagonal(similarity, 0)
for name, same in (("own domain", True), ("other domain", False)):
    allowed = similarity * ((domain[:, None] == domain) == same)
    found = allowed.max(axis=1) > 0
    agree = (opinion[allowed.argmax(axis=1)] == opinion)[found]
    print(f"nearest review in the {name:12} has the same opinion: {agree.mean():.0%}")

# %%
# From the middle layers on, a classifier on hidden states recognizes opinions about
# equally well in both domains. The domains themselves can be told apart almost
# perfectly, and the better the deeper the layer. So a shift that can be detected isn't
# necessarily harmful, but it is a reason to label a few new texts and check.
#
# Opinions are an easy case, because people praise hotels and headphones in similar
# words. Words that change their meaning don't carry over: a *cold* breakfast is bad,
# but a cold beer isn't. With 60 reviews for each domain, differences of five to ten
# points can be due to chance.
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4), layout="constrained")
names = ("own domain", "other domain")
for i, (name, color, style) in enumerate(
    zip(names, ("black", "tab:blue"), ("o-", "s-"), strict=True)
):
    left.plot(
        layers, by_layer[:, i], style, color=color, label=f"hidden states, {name}"
    )
    left.axhline(
        tfidf[i], color=color, linestyle=(0, (4 - 3 * i, 2)), label=f"TF-IDF, {name}"
    )
left.set(
    xlabel="layer",
    ylabel="accuracy",
    ylim=(0.5, 1.01),
    title="Is the review good or bad?",
)
right.plot(layers, by_layer[:, 2], "o-", color="tab:blue", label="hidden states")
right.axhline(tfidf[2], color="tab:blue", linestyle="--", label="TF-IDF")
right.set(xlabel="layer", ylabel="AUC", ylim=(0.5, 1.01), title="Hotel or electronics?")
for ax in (left, right):
    ax.legend(frameon=False, loc="lower right", fontsize="small")
    ax.spines[["top", "right"]].set_visible(False)
plt.show()
