"""The training loop, its schedule, and the counting of its work."""
