"""The regression gate: work, quality and time against a baseline or another commit."""
