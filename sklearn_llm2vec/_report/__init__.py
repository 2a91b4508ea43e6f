"""The HTML page of a search."""
