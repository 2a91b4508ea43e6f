"""Texts become blocks of pooled hidden states, by a model or by a server."""
