"""How the model of out-of-place requests was made."""
