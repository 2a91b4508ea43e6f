"""Texts of the parity benchmark: for small vocabularies, and to be tried."""

# The vocabularies' words: ordinary English, some other languages, code and numbers.
CORPUS = """
The quick brown fox jumps over the lazy dog.
How do I transfer money from my bank account to another card?
The payment was refunded after three days, and I'm not happy with the service.
What is the capital of France? Paris is the capital of France.
Apple released a new phone in the US in May, and the price went up.
She reads books about the history of science, art and music.
The committee will meet on Monday to discuss the annual report.
A sentence is a set of words that is complete in itself.
Machine learning models turn text into vectors of numbers.
They don't know what we've found; it's what they'll look for.
In 2023 the company sold 12345 units for 1999 dollars each, 2024 was better.
The temperature rose to 37.5 degrees in 1998 and 100 people left the city.
Large language models are trained on a large amount of text from the internet.
It was the best of times, it was the worst of times.
Please send me the document that describes the query and the passage.
Represent this sentence for searching relevant passages and documents.
Instruct: Given a web search query, retrieve relevant passages that answer the query.
Query: what is the weather like today in New York and in London?
The doctor said that the patient should take the medicine twice a day.
Water boils at 100 degrees, and ice melts at zero.
The train leaves the station at half past nine every morning.
He wrote a letter to his mother, who lives in a small town near the sea.
We went to the market and bought apples, bread, cheese and a bottle of wine.
The film was too long, but the music and the actors were very good.
Nobody knows the answer to this question, and nobody will ever know.
The children are playing in the garden with a red ball and a blue one.
Our team won the match because they played better in the second half.
The law was changed by the parliament after a long discussion.
New research shows that sleeping well is good for the heart.
I would like to cancel my order and get the money back.
The house on the hill has a large window and a green door.
Scientists found a new kind of fish in the deep water of the ocean.
This product works as described and I would buy it again.
The river runs through the middle of the old city.
Der schnelle Fuchs springt über den faulen Hund.
Die Straße führt durch den Wald, und das Mädchen läuft nach Hause.
Le café est très bon, mais l'été a été trop court à Noël.
El niño come una manzana en la mañana.
Привет, как дела? Спасибо, хорошо.
今天天气很好\uff0c我们去公园。
東京は日本の首都です。こんにちは世界。
안녕하세요 세계.
مرحبا بالعالم
नमस्ते दुनिया
def add(a, b): return a + b
for (int i = 0; i < 100; i++) { print("value: ", i); }
import numpy as np; x = np.array([1, 2, 3])
<html><body>Hello, world!</body></html>
https://www.example.com/index.html?id=12345&page=2
mail@example.com (see section 4.2) "quoted" 'single' [1] {2} #3 $4 %5 & * ~ ` ^ | \\ /
THE WEATHER IS GOOD. BREAKING NEWS FROM THE US. HELLO WORLD.
Hello World! Hello again, World. I'm here, you're there, we've been, they'd go, it'll do.
""".strip().splitlines()

# What decides between two tokenizers, text by text.
PROBES = [
    "",
    " ",
    "a",
    "Hello world",
    "Apple US May",
    "apple us may",
    "HELLO WORLD",
    "The quick brown fox jumps over the lazy dog.",
    "How do I transfer money from my bank account to another card?",
    " leading space",
    "  two leading spaces",
    "trailing space ",
    "trailing spaces  ",
    "two  inner   spaces",
    "tab\tand\nnew line",
    "line\n\nbreaks\r\nof  \n both kinds.\n",
    "1",
    "12345",
    "In 2023 we sold 1,234,567.89 units (100%) at 3.14 in 1998.",
    "café Noël über",
    "cafe\u0301 Noe\u0308l u\u0308ber",
    "Straße İstanbul Ångström",
    "\ufb01nd the \ufb02ower of \ufb03ne \u017fort",
    "\uff28\uff45\uff4c\uff4c\uff4f\u3000\uff11\uff12\uff13\uff01",
    "\u2460 \u00bd \u2122 \u2026 \u338f x\u00b2",
    "今天天气很好\uff0c我们去公园。",
    "東京は日本の首都です。 안녕하세요",
    "Привет مرحبا नमस्ते",
    "\U0001f600 smile \U0001f469\u200d\U0001f4bb and \u2764️",
    "I'm sure they'll say it's what we've found; don't! I'M NOT, HE'LL",
    "(see section 4.2) \"quoted\" 'single' [1] {2} #3 a_b c-d e/f ``x''",
    "def add(a, b):\n    return a + b\n\n\tx = 100\n",
    "https://www.example.com/index.html?id=12345&page=2",
    "non\u00a0breaking\u2009thin zero\u200bwidth\ufeff soft\u00adhyphen",
    "<s> literal </s> special <unk> tokens <pad> <mask>",
    "[CLS] literal [SEP] special [UNK] tokens [PAD] [MASK]",
    "<|endoftext|> literal <|im_start|>user<|im_end|> <|eot_id|>",
    "<bos> and <eos> and <start_of_turn>user <extra_id_0>",
    "[INST] literal [/INST] <|begin_of_text|> <0x41>",
    "hello...world --- ***bold*** !!!???",
    "what is the weather like today\nin New York and in London? " * 3,
    " ".join(CORPUS[:20] * 5),  # longer than 512 tokens
]
