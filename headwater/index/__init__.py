"""The vector index as releases: one contract, and the engines that keep it."""
