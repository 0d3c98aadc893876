"""The names model: its data, training and cross-validation."""
