"""Vectors on disk; knows no models."""
