"""One module a command, found by its file name: `update_baseline.py` is `update-baseline`."""
