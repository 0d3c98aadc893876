"""The stages of a corpus, one module per asset: each adapts the library's surface to table rows."""
