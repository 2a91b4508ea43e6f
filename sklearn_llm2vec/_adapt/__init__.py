"""LLM2Vec training: MNTP, SimCSE and supervised contrastive learning."""
