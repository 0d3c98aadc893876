"""The jobs of every corpus."""
