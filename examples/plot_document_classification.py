"""
Document classification with few labels
=======================================

Messages to a town hall have to reach the right office. Labels are expensive, so how many
does a classifier need? This example compares word counts (TF-IDF) with hidden states of
MiniLM, both followed by the same logistic regression.
"""

# %%
# The data are 120 messages for six offices, written for this example. Some contain
# words that are typical of their office, such as *bin* or *pothole*, and others don't.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    StratifiedShuffleSplit,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline

from sklearn_llm2vec import LLMEmbeddingTransformer

MESSAGES = {
    "waste": """
Our bin was not emptied this morning, nor was any other on Mill Lane.
When is the next collection of garden waste?
Somebody has dumped rubbish and an old sofa behind the bus stop.
Our recycling bin is cracked, can we have a new one?
Foxes keep tearing open the rubbish sacks outside the flats.
Where can I take a broken fridge?
The bottle bank by the school has been overflowing for days.
I would like to order a larger bin.
Do you collect mattresses, and what does it cost?
The bin lorry skipped our whole street two weeks in a row.
Can pizza boxes go into the paper recycling?
There are rats around the rubbish bins of number 40.
My neighbour burns plastic in his yard instead of throwing it away.
Which day is the collection over Christmas?
The recycling centre was closed although the website says it opens at nine.
We need two more sacks for nappies, our baby was born last week.
Old paint tins have been left on the pavement.
Batteries and light bulbs: which bin do they go in?
The crew spilled half of our food waste over the drive.
Please send me a calendar of the collection dates.
""",
    "roads": """
There is a deep pothole in the road in front of the bakery.
The traffic lights at the station have been stuck on red since noon.
Cars race down our road far above the speed limit.
The street light outside my bedroom keeps flickering.
The crossing by the school is worn off and drivers don't stop.
Could you grit the steep part of Church Street before the frost?
A van has been parked across the cycle lane for a week.
The pavement is so uneven that my mother fell with her walker.
Why is the road over the bridge closed again, and for how long?
A road sign at the roundabout points the wrong way.
Another pothole, this time on the ring road, has cost me a tyre.
We would like a lower speed limit near the nursery.
The kerb is too high for my wheelchair at the corner of Elm Street.
Roadworks started without any notice and we can't get out of our drive.
The bus lane markings confuse everybody.
It has been pitch dark since the street lights in our lane went out.
Snow was not cleared from the pavement, and two people broke an arm.
Lorries use our narrow street as a short cut to the motorway.
The button at the pedestrian crossing does nothing.
Loose gravel on the new road has chipped my windscreen.
""",
    "parks": """
The swing on the playground in Victoria Park has a broken chain.
A branch came down across the path by the pond.
Could the grass on the playing field be cut before Sunday's match?
Dog mess everywhere on the grass where toddlers play.
The roses by the war memorial look dead.
Are we allowed to have a barbecue in the park?
Someone sprayed graffiti on the benches and the bandstand.
The drinking fountain next to the tennis courts is dry.
Please plant more trees for shade near the playground.
The playground gate doesn't close, and it is beside the road.
Who do I ask about hiring the football pitch?
Brambles have grown over the benches along the river walk.
The ducks look ill; several lay dead by the pond.
Teenagers drink on the climbing frame every night.
We want to hold a picnic for sixty people in the park.
One of the old trees leans dangerously after the storm.
An allotment has come free next to mine, may my sister have it?
The hedge around the bowling green needs cutting.
The slide on the playground has a sharp edge, my son cut his hand.
What time do you lock the park in summer?
""",
    "water": """
No water has come out of our taps since six o'clock.
What comes out of the tap is brown and smells of eggs.
The reading of my water meter can't be right, I live alone.
A pipe has burst under the pavement and it is flooding the cellar.
The drain in our yard is blocked and backing up.
The water pressure in the shower has been very weak this week.
Sewage leaks into the stream behind the mill.
How do I turn off the supply before the plumber comes?
I was charged twice for the water of the last quarter.
Is the tap water safe to drink after yesterday's warning?
The manhole cover in the alley lifts whenever it rains hard.
There is a leak at the stopcock outside number 9.
We moved out in May, please read the meter and send the last bill.
The drain is blocked with leaves and the street stands ankle-deep.
Our kettle furs up in days, how hard is the water here?
The hydrant by the garage is leaking.
Can I have a water meter instead of a flat charge?
The toilets gurgle and the bath won't empty.
The hosepipe ban: may I fill the paddling pool?
A foul stench rises from the drain on our corner.
""",
    "building": """
Do I need planning permission for a shed of ten square metres?
How far is my application for the loft conversion?
The new extension next door takes all our light, was it approved?
May I replace the windows in a listed building?
I would like to see the plans for the flats on the old dairy site.
What does a licence for tables outside my café cost?
My scaffold must stand in the street for a month, which form is it?
Our architect asks for the deadline for objections to the plans.
Do solar panels in the conservation area need permission?
The building inspector did not come to check the foundations.
I want to turn the shop downstairs into a flat.
A fence of two metres has been put up without permission.
Please tell me who owns the plot beside the railway.
We are opening a food stall and need a trading licence.
How high may a garden wall be without a planning application?
I object to the mast that is to be built near the school.
Is the certificate for the boiler room still missing in our file?
My application for a shop sign was refused, how do I appeal?
Demolition of the building next door began before the hearing.
Can the fee for changing the plans of our extension be waived?
""",
    "noise": """
The pub plays loud music until three in the morning.
A dog next door barks all day while its owner is at work.
The noise of the drilling starts at six, even on Sundays.
The ventilation of the supermarket hums all night.
The family upstairs has loud parties every weekend.
An alarm has been ringing in the empty office since Friday.
Motorbikes rev under our window at midnight.
My neighbour practises the drums for hours.
Church bells every quarter of an hour, even at night?
Fireworks go off in our road weeks after New Year.
The leaf blowers make a terrible noise before anyone is awake.
We can't sleep because delivery vans unload at dawn.
Shouting outside the kebab shop wakes the children every night.
Can somebody measure the noise in my flat?
A cockerel crows at four and nobody here can sleep.
The heat pump in the next garden drones without a pause.
What are the quiet hours for mowing?
Music thumps through the wall every evening.
The night club promised soundproofing, and it is as loud as before.
Helicopter flights over the hospital shake our windows.
""",
}
texts, offices = [], []
for office, lines in MESSAGES.items():
    texts += lines.strip().splitlines()
    offices += [office] * (len(texts) - len(offices))
print(len(texts), "messages,", len(MESSAGES), "offices")

# %%
# The two pipelines differ in their first step only: ``LLMEmbeddingTransformer`` accepts
# a list of texts as ``TfidfVectorizer`` does. TF-IDF leaves out stop words, because it
# is better without them here.
pipelines = {
    "TF-IDF": make_pipeline(
        TfidfVectorizer(stop_words="english"), LogisticRegression()
    ),
    "hidden states": make_pipeline(
        LLMEmbeddingTransformer(normalize=True, verbose=False), LogisticRegression()
    ),
}

# %%
# For each point of the learning curve, some labeled messages of each office and 36
# messages to be sorted are drawn 20 times. This makes a hundred fits on hidden states,
# but each text goes through the model only once; later fits read the cache.
labels_per_office = [1, 2, 4, 8, 14]
accuracy = {
    name: np.array(
        [
            cross_val_score(
                pipeline,
                texts,
                offices,
                cv=StratifiedShuffleSplit(
                    20, train_size=n * len(MESSAGES), test_size=36, random_state=0
                ),
            )
            for n in labels_per_office
        ]
    )
    for name, pipeline in pipelines.items()
}
print("labels per office ", *(f"{n:5d}" for n in labels_per_office))
for name, scores in accuracy.items():
    print(f"{name:18}", *(f"{score:5.2f}" for score in scores.mean(axis=1)))

# %%
# Which messages are still misclassified with 15 labels for each office? Some could be
# answered by two offices, and others only imply what they are about.
predicted = cross_val_predict(pipelines["hidden states"], texts, offices, cv=4)
wrong = np.flatnonzero(predicted != np.array(offices))
print(f"{len(wrong)} of {len(texts)} messages go to the wrong office, among them:")
for i in wrong[::2]:
    print(f"  {offices[i]:>8} -> {predicted[i]:8}  {texts[i]}")

# %%
# The plot shows the mean accuracy, and around it the middle half of the draws. TF-IDF
# learns a word only from labeled messages that contain it, while the hidden states
# reflect from the start that potholes and kerbs have to do with roads.
#
# This is an advantage with a small sample. With thousands of labels, or if classes
# differ in single words such as product names, counting words is hard to beat, so
# include TF-IDF in your comparison.
figure, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
for (name, scores), color in zip(
    accuracy.items(), ("tab:orange", "tab:blue"), strict=True
):
    low, mean, high = (
        np.percentile(scores, 25, axis=1),
        scores.mean(axis=1),
        np.percentile(scores, 75, axis=1),
    )
    ax.fill_between(labels_per_office, low, high, color=color, alpha=0.2, linewidth=0)
    ax.plot(labels_per_office, mean, "o-", color=color)
    ax.annotate(
        name,
        (labels_per_office[-1], mean[-1]),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        color=color,
    )
ax.axhline(1 / len(MESSAGES), color="0.5", linestyle=":")
ax.annotate(
    "by chance",
    (1, 1 / len(MESSAGES)),
    xytext=(0, 4),
    textcoords="offset points",
    color="0.4",
)
ax.set_xscale("log", base=2)
ax.set_xticks(labels_per_office, labels_per_office)
ax.set(
    xlabel="labeled messages of each office",
    ylabel="accuracy on other messages",
    ylim=(0, 1),
)
ax.spines[["top", "right"]].set_visible(False)
plt.show()
