"""All families of the parity benchmark by name."""

import parity_decoders
import parity_edges
import parity_embedders
import parity_encoders
import parity_llm2vec
import parity_refused

PARTS = (
    parity_encoders,
    parity_embedders,
    parity_decoders,
    parity_llm2vec,
    parity_edges,
    parity_refused,
)

FAMILIES = {family.name: family for part in PARTS for family in part.families()}
