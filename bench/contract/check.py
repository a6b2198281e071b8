"""The contract: what `python -m bench check PATH` holds a plug-in to, before anyone trusts its numbers."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch

from bench.common import references
from bench.common.errors import UsageError, suggest
from bench.contract import data_rules, denoiser_rules, metric_rules, network_rules, objective_rules
from bench.contract.rule import Broken, Rule
from bench.data.data_dir import AbsentDataError
from bench.plugins import registry


@dataclass(frozen=True)
class Finding:
    """One rule, whether the plug-in keeps it, and what was seen."""

    rule: str
    passed: bool
    detail: str


def check_plugin(ref: str) -> list[Finding]:
    """Holds one plug-in, by name or by path, to every rule of its kind.

    Raises:
        UsageError: if there is no such plug-in, its file does not import, or a data set's files are not here.
    """
    plugin = _find(ref)
    torch_state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(1)  # the tensors are small
    data_rules.solo_data.cache_clear()  # the file may have been edited
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a step size that is warned about is not against the rules
        findings = [_held(name, rule, plugin, ref) for name, rule in RULES[plugin.kind].items()]
    torch.random.set_rng_state(torch_state)
    torch.set_num_threads(threads)
    return findings


def _held(name: str, rule: Rule, plugin: registry.Plugin, ref: str) -> Finding:
    try:
        return Finding(name, True, rule(plugin, ref))
    except Broken as broken:
        return Finding(name, False, str(broken))
    except AbsentDataError:
        raise
    except (Exception, SystemExit) as error:  # a plug-in may raise anything, and that is a finding
        return Finding(name, False, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")


def _find(ref: str) -> registry.Plugin:
    name = references.split_reference(ref)[0]
    if references.names_points(name):
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
    raise next((e for e in errors if "found none" not in str(e)), errors[0])


RULES: dict[registry.Kind, dict[str, Rule]] = {
    "objectives": objective_rules.RULES,
    "datasets": data_rules.RULES,
    "metrics": metric_rules.RULES,
    "networks": network_rules.RULES,
    "denoisers": denoiser_rules.RULES,
}
