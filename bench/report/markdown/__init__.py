"""Markdown pages of results."""
