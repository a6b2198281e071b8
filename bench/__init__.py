"""A benchmark of training objectives for energy-based models."""
