"""All families of the parity benchmark by name."""

import parity_decoders
import parity_edges
import parity_embedders
import parity_encoders
import parity_llm2vec
import parity_refused
import parity_static

PARTS = (
    parity_encoders,
    parity_embedders,
    parity_decoders,
    parity_llm2vec,
    parity_edges,
    parity_refused,
    parity_static,
)

FAMILIES = {family.name: family for part in PARTS for family in part.families()}

# One of each structure, which the test suite compares: about a minute.
TESTED = (
    # encoders
    "bert-uncased bert-cased bert-cased-fast-class bert-uncased-vocabulary-alone "
    "bert-template-without-sep distilbert-multilingual-cased electra mpnet modernbert "
    "roberta roberta-slow-files roberta-prefix-space xlm-roberta xlm-roberta-2022 "
    "camembert t5 t5-encoder deberta-v3 albert phobert byt5 mbart clip-text "
    # embedders
    "all-MiniLM-L6-v2 paraphrase-multilingual-MiniLM-old distiluse-multilingual labse "
    "stsb-roberta lowercase-by-settings limit-above-tokenizer limit-unsaid sgpt gtr-t5 "
    "mt5-sentence instructor e5-base-v2 multilingual-e5-small bge-small-en-v1.5 bge-m3 "
    "default-prompt-left-out prompt-left-out-xlm-r matryoshka-by-parameter "
    "truncation-side-left inner-folder e5-mistral bge-multilingual-gemma2 "
    "qwen3-embedding gte-qwen2-flags gte-qwen2-not-causal stella-1.5b embedding-gemma "
    "llama-3-embedder-prompt-left-out "
    # decoders
    "llama-2 llama-with-eos llama-without-bos yi codellama-class-bytes mistral-v0.3 "
    "mixtral phi-3 llama-3 llama-3-with-eos qwen2 qwen2-other-cut-fast "
    "qwen2-digits-fast qwen3 deepseek-llm deepseek-v3-cut mistral-nemo gpt2 dialogpt "
    "pythia bloom falcon phi-2 starcoder2 smollm2-instruct olmo2 hyperclovax "
    "exaone-4 command-r gemma-2 gemma-3 gemma-fast-class t5gemma half-weights "
    "added-token-beside llama-saved-by-5 "
    # adapters
    "llm2vec-mistral-instruction llm2vec-llama-3-instruction llm2vec-sheared-llama "
    # without layers
    "static-embedding model2vec model2vec-shared"
).split()
