"""The one exception that means: the person asking can put this right."""

from __future__ import annotations


class UsageError(ValueError):
    """Bad input. The message is one line: the rule, the value that broke it, and the way out."""


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
