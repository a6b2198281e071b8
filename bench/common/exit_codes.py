"""What a command's exit code says."""

from __future__ import annotations

GOOD = 0
REGRESSION = 1  # something became worse or dearer, or contradicts what was predicted
USAGE = 2  # bad input, said in one line
FAILED = 3  # some runs have no result
UNDECIDED = 4  # not measured, or not decided
INTERRUPTED = 130
