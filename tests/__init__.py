"""Tests; `helpers` is imported by child processes, too."""
