"""Searching layers and poolings; scores as tables and heat maps."""
