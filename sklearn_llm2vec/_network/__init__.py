"""A torch network: its hidden states, what is proved about it, its speed."""
