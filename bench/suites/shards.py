"""Parts of a plan for the jobs of an array: each run in one of them, and the seeds of a cell together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bench.common.errors import UsageError
from bench.common.run_spec import RunSpec

MOST = 100_000


@dataclass(frozen=True)
class Shard:
    """The `index`-th of `count` parts, counted from 1."""

    index: int
    count: int

    def of(self, specs: Sequence[RunSpec]) -> list[RunSpec]:
        """Its runs: the cells of the plan are dealt out one by one, so that each part has some of every data set."""
        cells = list(dict.fromkeys((spec.suite, spec.stack_id) for spec in specs))
        own = set(cells[self.index - 1 :: self.count])
        return [spec for spec in specs if (spec.suite, spec.stack_id) in own]


def parse_shard(text: str) -> Shard:
    """The shard that "3/10" names.

    Raises:
        UsageError: if it is not that, or there is no such part.
    """
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if found is None:
        raise UsageError(f"--shard must be I/N, such as 3/10; got '{text}'")
    shard = Shard(*map(int, found.groups()))
    if not 1 <= shard.index <= shard.count <= MOST:
        raise UsageError(f"--shard I/N needs 1 <= I <= N <= {MOST}; got '{text}'")
    return shard
