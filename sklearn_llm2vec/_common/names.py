"""Names that parameters and command-line options can have, each written down once.

Poolings are named in ``_network.pooling`` and prompts in ``_text.templates``, beside what
they do.
"""

# What a missing value becomes.
MISSING = ("zero", "nan", "empty", "error")

# What happens to a text with more tokens than `max_length`.
LONG_TEXTS = ("truncate", "chunk", "error")

ATTENTIONS = ("causal", "bidirectional")

DTYPES = ("float32", "bfloat16", "float16")

# The stages of an adaptation, and the chains of them that can be asked for: the
# contrastive stage comes after MNTP.
STAGES = ("mntp", "simcse", "supervised")
CHAINS = ("mntp", "simcse", "supervised", "mntp+simcse", "mntp+supervised")
