"""Columns of any kind become texts, prompts and rows of token ids."""
