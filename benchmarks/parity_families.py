"""All families of the parity benchmark by name."""

import parity_decoders
import parity_embedders
import parity_encoders

FAMILIES = {
    family.name: family
    for part in (parity_encoders, parity_embedders, parity_decoders)
    for family in part.families()
}
