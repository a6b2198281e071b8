"""The one exception that means: the person asking can put this right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class UsageError(ValueError):
    """Bad input. The message is a line a mistake: the rule, the value that broke it, and the way out."""


class Faults:
    """Mistakes that do not depend on each other, so that a person learns of all of them at once."""

    def __init__(self) -> None:
        self._found: list[UsageError] = []

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Notes a mistake of its body, and goes on behind it."""
        try:
            yield
        except UsageError as error:
            if str(error) not in map(str, self._found):
                self._found.append(error)

    def refuse(self) -> None:
        """Goes on if nothing was noted.

        Raises:
            UsageError: the one mistake as it is, or all of them in a list.
        """
        if len(self._found) > 1:
            lines = "".join(f"\n  - {error}" for error in self._found)
            raise UsageError(f"{len(self._found)} mistakes:{lines}")
        if self._found:
            raise self._found[0]


def no_runs(store: object) -> UsageError:
    """The error for a store, given by its path, in which no run was planned or made."""
    return UsageError(f"No runs in {store}; run a suite with --out {store}.")


def failure_reason(error: BaseException) -> str:
    """An exception in one line, as a table has it in place of a number: "n/a (ValueError: ...)"."""
    lines = str(error).splitlines()
    return f"n/a ({type(error).__name__}{f': {lines[0]}' if lines else ''})"


def suggest(kind: str, value: str, known: list[str]) -> UsageError:
    """The error for an unknown name, with the nearest known names as the way out."""
    import difflib

    close = difflib.get_close_matches(value, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known) or 'none'}"
    return UsageError(f"unknown {kind} '{value}': {hint}")
