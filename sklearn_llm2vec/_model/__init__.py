"""A model's folder, its fingerprint, its weights in memory, lent to other workers."""
