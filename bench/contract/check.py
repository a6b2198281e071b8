"""The contract: what `python -m bench check PATH` holds a plug-in to, before anyone trusts its numbers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.common import data_paths, references
from bench.common.errors import UsageError, suggest
from bench.common.paths import expanded
from bench.contract import (
    data_rules,
    denoiser_rules,
    ledger,
    metric_rules,
    network_rules,
    objective_rules,
    stationarity,
)
from bench.contract.objective_rules import with_draws
from bench.contract.rule import Broken, Rule
from bench.contract.source_lines import line_of_error
from bench.contract.undeclared import undeclared
from bench.data.data_dir import AbsentDataError
from bench.plugins import registry

# what must fail, too, where the rule before the colon is broken
CONSEQUENCES = {"private randomness": ("event shape", "stack equals solo", "resume", "own sampler", "minimiser")}


@dataclass(frozen=True)
class Finding:
    """One rule, whether the plug-in keeps it, and what was seen.

    Attributes:
        line: of the plug-in's file that is to blame, "file.py:12: its text"; "" where none is known.
        cause: the rule whose breach says why this one could not be tried.
    """

    rule: str
    passed: bool
    detail: str
    line: str = ""
    cause: str = ""


def check_plugin(
    ref: str,
    *,
    only: Collection[str] = (),
    draws: int | None = None,
    begin: Callable[[str], object] = lambda rule: None,
) -> list[Finding]:
    """Holds one plug-in, by name or by path, to the rules of its kind.

    Args:
        only: rules to try; all if there are none.
        draws: the most examples a seed that the search for the minimiser of an objective takes on each law.
        begin: is told of each rule before it is tried.

    Raises:
        UsageError: if there is no such plug-in or rule, its file does not import, or a data set's files are not here.
    """
    plugin = _find(ref)
    rules = RULES[plugin.kind] if draws is None else {**RULES, "objectives": with_draws(draws)}[plugin.kind]
    for name in only:
        if name not in rules:
            raise suggest(f"rule of {plugin.kind}", name, list(rules))
    torch_state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(1)  # the tensors are small
    data_rules.solo_data.cache_clear()  # the file may have been edited
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a step size that is warned about is not against the rules
        findings: list[Finding] = []
        for name, rule in rules.items():
            if not only or name in only:
                begin(name)
                findings.append(_unchecked(name, findings) or _held(name, rule, plugin, ref))
    torch.random.set_rng_state(torch_state)
    torch.set_num_threads(threads)
    broken = [finding.rule for finding in findings if not finding.passed]
    # what has kept some rules, or all with fewer draws, is still unchecked
    if plugin.is_own and (broken or not (only or draws)):
        ledger.remember(plugin.path, broken)
    return findings


def estimated_seconds(ref: str, *, draws: int | None = None) -> float | None:
    """About how long an objective's minimiser takes at most, the longest rule of all; None if nothing can be said.

    Raises:
        UsageError: if there is no such plug-in, or its file does not import.
    """
    plugin = _find(ref)
    if plugin.kind != "objectives":
        return None
    calls = stationarity.CALLS if draws is None else draws // stationarity.BATCH
    try:
        return stationarity.estimated_seconds(plugin, ref, calls)
    except (Exception, SystemExit):  # the rules say what is wrong with it
        return None


def in_lines(findings: Sequence[Finding]) -> list[str]:
    """What the findings say, one line for each rule that holds and then one for each fault.

    What fails at one line of the file is one fault, and so is what could not be tried for it.
    """
    lines = [f"pass  {finding.rule}: {finding.detail}" for finding in findings if finding.passed]
    faults: dict[str, list[Finding]] = {}
    for finding in findings:
        if not finding.passed and not finding.cause:
            faults.setdefault(finding.line or finding.detail, []).append(finding)
    for own in faults.values():
        names = [finding.rule for finding in own]
        text = f"FAIL  {names[0]}: {own[0].detail}" + f" [{own[0].line}]" * bool(own[0].line)
        text += f"; the same breaks: {', '.join(names[1:])}" * bool(names[1:])
        untried = [finding.rule for finding in findings if finding.cause in names]
        lines.append(text + f"; not tried for that reason: {', '.join(untried)}" * bool(untried))
    return lines


def _unchecked(name: str, findings: Sequence[Finding]) -> Finding | None:
    """The finding for a rule that could only show again what an earlier one has shown."""
    for earlier in findings:
        if not earlier.passed and name in CONSEQUENCES.get(earlier.rule, ()) and earlier.line:
            return Finding(name, False, f"not tried: {earlier.rule} is broken", cause=earlier.rule)
    return None


def _held(name: str, rule: Rule, plugin: registry.Plugin, ref: str) -> Finding:
    try:
        return Finding(name, True, rule(plugin, ref))
    except Broken as broken:
        return Finding(name, False, str(broken), broken.line)
    except AbsentDataError:
        raise
    except (Exception, SystemExit) as error:  # a plug-in may raise anything, and that is a finding
        return Finding(
            name,
            False,
            f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}",
            line_of_error(error, plugin.path),
        )


def _find(ref: str) -> registry.Plugin:
    name = references.split_reference(ref)[0]
    if data_paths.names_data_path(name):
        return registry.find("datasets", ref)
    if not name.endswith(".py"):
        for kind in registry.FOLDERS:
            if name in registry.names(kind):
                return registry.find(kind, ref)
        raise suggest("plug-in", name, [n for kind in registry.FOLDERS for n in registry.names(kind)])
    errors = []
    for kind in registry.FOLDERS:
        try:
            return registry.find(kind, ref)
        except UsageError as error:
            errors.append(error)
    # of a file that declares two of a kind, "found none" of the other kinds says nothing
    said = next((error for error in errors if "found none" not in str(error)), None)
    raise said or undeclared(expanded(Path(name)))


RULES: dict[registry.Kind, dict[str, Rule]] = {
    "objectives": objective_rules.RULES,
    "datasets": data_rules.RULES,
    "metrics": metric_rules.RULES,
    "networks": network_rules.RULES,
    "denoisers": denoiser_rules.RULES,
}
