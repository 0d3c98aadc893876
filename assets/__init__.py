"""The assets of every corpus: the ``Corpus`` component, one module per asset, one folder per corpus."""
