"""Training of the models that come with Headwater; run from a checkout, never needed to use it."""
