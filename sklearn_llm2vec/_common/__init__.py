"""What every other folder may use; knows nothing of them and imports no torch."""
