"""Annealed importance sampling against energies whose log Z is known; writes results/likelihood/validation.{csv,md}.

Analytic energies in up to 64 dimensions, trained energies of the plane against exact quadrature, and traps. A quarter
of an hour on one core: `python scripts/validate_ais.py`; `--only NAME` tries those whose name begins so and writes
nothing.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.api import Data, Energy, Rng, annealed_partition, log_partition
from bench.common.paths import HOME
from bench.plugins import builders, registry

SEEDS = (0, 1, 2, 3)
TRAIN = 4_000
OBJECTIVES = ("noise_contrastive_estimation", "energy_discrepancy")
STEPS, BATCH, LR = 1_000, 128, 4e-3
KINDS = {
    "unimodal": "one mode: normal, badly conditioned, logistic, quartic, bent",
    "overlapping": "mixtures of normal laws whose modes touch",
    "separated": "mixtures of normal laws, modes 8 standard deviations apart, weights unequal",
    "wells": "products of double wells, alone and beside normal coordinates",
    "plane": "networks trained on the plane, against quadrature",
    "trap": "a second mode that the base does not reach, or that the data do not have",
    "needle": "a second mode off the data, half the mass, narrow: a known blind spot",
}


@dataclass(frozen=True)
class Case:
    """An energy with its log Z, and data (n, d) that its base is fitted to."""

    name: str
    kind: str
    dim: int
    energy: Energy
    log_z: float
    data: Callable[[Rng], Tensor]


def normal_log_z(dim: int) -> float:
    """log ∫ exp(-½‖x‖²)."""
    return dim / 2 * math.log(2 * math.pi)


def mixture(name: str, kind: str, centres: Tensor, weights: list[float], spreads: list[float], known: int) -> Case:
    """Σₖ wₖ N(cₖ, sₖ²I), log Z = 0; the data are of the first `known` parts."""
    dim, log_weights, widths = centres.shape[1], torch.tensor(weights).log(), torch.tensor(spreads)

    def energy(x: Tensor) -> Tensor:
        square = (x[:, None] - centres).square().sum(-1) / (2 * widths.square())
        return normal_log_z(dim) - (log_weights - square - dim * widths.log()).logsumexp(-1)

    def data(rng: Rng) -> Tensor:
        part = rng.choice(log_weights[:known].exp(), (TRAIN,))
        return centres[part] + widths[part, None] * rng.normal((TRAIN, dim))

    return Case(name, kind, dim, energy, 0.0, data)


def along(dim: int, *places: float) -> Tensor:
    """Centres on the first axis, (K, dim)."""
    centres = torch.zeros(len(places), dim)
    centres[:, 0] = torch.tensor(places)
    return centres


def product(name: str, kind: str, dim: int, one: Callable[[Tensor], Tensor], normals: int = 0) -> Case:
    """Σᵢ f(xᵢ) over dim - normals coordinates and ½xᵢ² over the others; log Z from a quadrature in one dimension."""
    grid = torch.linspace(-40, 40, 400_001, dtype=torch.float64)
    log_p = -one(grid)
    log_z = float(log_p.logsumexp(0)) + math.log(80 / 400_000)
    wells = dim - normals

    def energy(x: Tensor) -> Tensor:
        total: Tensor = one(x[:, :wells]).sum(-1) + 0.5 * x[:, wells:].square().sum(-1)
        return total

    def data(rng: Rng) -> Tensor:
        first = grid[rng.choice(log_p.softmax(0)[::8], (TRAIN, wells)) * 8].float()
        return torch.cat([first, rng.normal((TRAIN, normals))], 1)

    return Case(name, kind, dim, energy, wells * log_z + normal_log_z(normals), data)


def conditioned(dim: int) -> Case:
    """A rotated normal law of variances from 1e-3 to 1."""
    variances = torch.logspace(-3, 0, dim)
    rotation = torch.linalg.qr(Rng(dim).normal((dim, dim)))[0]
    log_z = normal_log_z(dim) + 0.5 * float(variances.log().sum())

    def energy(x: Tensor) -> Tensor:
        energies: Tensor = 0.5 * ((x @ rotation).square() / variances).sum(-1)
        return energies

    return Case(
        f"conditioned-{dim}",
        "unimodal",
        dim,
        energy,
        log_z,
        lambda rng: (rng.normal((TRAIN, dim)) * variances.sqrt()) @ rotation.T,
    )


def bent(dim: int) -> Case:
    """A normal law bent by x₂ + ½(x₁² - 1), which keeps volumes."""

    def energy(x: Tensor) -> Tensor:
        second = x[:, 1] + 0.5 * (x[:, 0].square() - 1)
        return 0.5 * (x[:, 0].square() + second.square() + x[:, 2:].square().sum(-1))

    def data(rng: Rng) -> Tensor:
        z = rng.normal((TRAIN, dim))
        return torch.cat([z[:, :1], z[:, 1:2] - 0.5 * (z[:, :1].square() - 1), z[:, 2:]], 1)

    return Case(f"bent-{dim}", "unimodal", dim, energy, normal_log_z(dim), data)


def analytic() -> Iterator[Case]:
    """Energies whose log Z is a formula or a quadrature in one dimension."""
    for dim in (2, 8, 16, 32, 64):
        yield product(f"normal-{dim}", "unimodal", dim, lambda x: 0.5 * x.square())
    for dim in (2, 8, 32, 64):
        yield conditioned(dim)
    for dim in (2, 8, 32):
        yield product(f"logistic-{dim}", "unimodal", dim, lambda x: 2 * torch.nn.functional.softplus(x) - x)
        yield product(f"quartic-{dim}", "unimodal", dim, lambda x: 0.25 * x**4)
        yield bent(dim)
    for dim in (2, 8, 32, 64):
        yield mixture(f"overlapping-{dim}", "overlapping", along(dim, -1.5, 1.5), [0.5, 0.5], [1.0, 1.0], 2)
    for dim in (2, 8, 32):
        places = along(dim, -2.0, 0.0, 2.0)
        yield mixture(f"overlapping-unequal-{dim}", "overlapping", places, [0.1, 0.3, 0.6], [0.6, 1.0, 0.8], 3)
    for dim in (2, 8, 32):
        yield mixture(f"separated-{dim}", "separated", along(dim, -4.0, 4.0), [0.3, 0.7], [1.0, 1.0], 2)
    for dim in (2, 8):
        corners = torch.zeros(4, dim)
        corners[:, :2] = 4 * torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        yield mixture(f"separated-four-{dim}", "separated", corners, [0.1, 0.2, 0.3, 0.4], [1.0] * 4, 4)

    def well(x: Tensor) -> Tensor:
        return 3 * (x.square() - 1).square() + 0.3 * x

    for dim in (2, 4, 8, 16, 32):
        yield product(f"wells-{dim}", "wells", dim, well)
    for dim in (8, 32, 64):
        yield product(f"four-wells-{dim}", "wells", dim, well, normals=dim - 4)


def traps() -> Iterator[Case]:
    """Energies with a mode that the data do not have."""
    for dim in (2, 8, 32):
        yield mixture(f"one-of-two-{dim}", "trap", along(dim, 0.0, 12.0), [0.5, 0.5], [1.0, 1.0], 1)
        yield mixture(f"spurious-{dim}", "trap", along(dim, 0.0, 6.0), [0.1, 0.9], [1.0, 1.0], 1)
        yield mixture(f"spurious-wide-{dim}", "trap", along(dim, 0.0, 5.0), [0.5, 0.5], [1.0, 2.0], 1)
    for dim in (8, 32):
        yield mixture(f"needle-{dim}", "needle", along(dim, 0.0, 5.0), [0.5, 0.5], [1.0, 0.5], 1)


def trained(only: str, done: Collection[object]) -> Iterator[Case]:
    """Networks trained on the plane, with log Z by quadrature where its own checks pass."""
    for ref in registry.names("datasets"):
        if not registry.find("datasets", ref).info.bundled:
            continue
        for objective in OBJECTIVES:
            name = f"plane-{ref}-{objective.split('_', maxsplit=1)[0]}"
            if not name.startswith(only) or name in done:
                continue
            data = builders.dataset(ref, Rng(0, "data"))
            if data.grid is None:
                break
            energy = trained_energy(data, objective)
            partition = log_partition(energy, data.grid, like=data.test)
            log_z = math.nan if partition.warning else partition.log_z
            yield Case(name, "plane", 2, energy, log_z, lambda rng, data=data: data.train)  # type: ignore[misc]


def trained_energy(data: Data, objective: str) -> Energy:
    """A network after a thousand steps of an objective at its defaults."""
    rng = Rng(0)
    network = builders.network(
        "fourier_mlp", (2,), rng.stream("init"), x_train=data.train, width=64, depth=2, confinement=1.0
    )
    module = builders.objective(objective, data.train, rng, local_scale=data.local_scale)
    parameters = [*network.parameters(), *module.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=LR)
    for step in range(STEPS):
        optimiser.param_groups[0]["lr"] = LR * (1 + math.cos(math.pi * step / STEPS)) / 2
        x = data.train[rng.integers(len(data.train), (BATCH,))]
        optimiser.zero_grad()
        module(network, x, rng).mean().backward()
        optimiser.step()
    return network.requires_grad_(False)


def measured(case: Case, seed: int) -> dict[str, object]:
    """One line of the table: the estimate, the truth, and whether the interval holds it."""
    began = time.process_time()
    found = annealed_partition(case.energy, case.data(Rng(seed, "data")), Rng(seed, "eval"))
    seconds = time.process_time() - began
    low, high = found.interval
    known = not math.isnan(case.log_z)
    return {
        "energy": case.name,
        "kind": case.kind,
        "dim": case.dim,
        "seed": seed,
        "log_z": round(case.log_z, 5) if known else "quadrature fails",
        "estimate": round(found.log_z, 5),
        "stderr": round(found.stderr, 5),
        "width": round(high - low, 5),
        "error": round(found.log_z - case.log_z, 5) if known else "",
        "covered": low <= case.log_z <= high if known else "",
        "mark": found.mark,
        "reason": found.reason,
        "ess": round(found.ess, 3),
        "evaluations": found.detail.get("energy_evaluations", 0),
        "cpu_s": round(seconds, 1),
    }


def summary(lines: pd.DataFrame) -> str:
    """The page: one line for each kind and dimension, and what was promised."""
    known = lines[lines["error"] != ""].copy()
    known["error"] = known["error"].astype(float)
    known["covered"] = known["covered"].astype(str) == "True"
    known["certified"] = known["mark"] == "certified_ais"
    rows = []
    for (kind, dim), part in known.groupby(["kind", "dim"], sort=False):
        sure = part[part["certified"]]
        rows.append(
            {
                "kind": kind,
                "d": dim,
                "energies × seeds": len(part),
                "certified": f"{len(sure)}",
                "of these covered": f"{int(sure['covered'].sum())}" if len(sure) else "–",
                "median width, nats": f"{sure['width'].median():.3f}" if len(sure) else "–",
                "largest error, nats": f"{sure['error'].abs().max():.3f}" if len(sure) else "–",
                "CPU s": f"{part['cpu_s'].median():.1f}",
            }
        )
    sure = known[known["certified"]]
    apart = known[known["kind"] != "needle"]
    easy = known[known["kind"].isin(["unimodal", "overlapping"])]
    plane = sure[sure["kind"] == "plane"]
    others = apart[apart["certified"]]
    facts = [
        f"{lines['energy'].nunique()} energies, {len(SEEDS)} seeds each; {len(sure)} of {len(known)} runs with a known "
        "log Z are certified.",
        f"The nominal 99 % interval holds the truth in {int(sure['covered'].sum())} of these {len(sure)} "
        f"({sure['covered'].mean():.1%}); without the needles in {int(others['covered'].sum())} of {len(others)}.",
        f"Of {len(easy)} runs on unimodal and overlapping energies {int(easy['certified'].sum())} are certified.",
        f"On the plane, where both are certified, the largest difference is {plane['error'].abs().max():.4f} "
        f"nats (median {plane['error'].abs().median():.4f}).",
        f"Of {int((known['kind'] == 'trap').sum())} runs on traps "
        f"{int(((known['kind'] == 'trap') & known['certified'] & ~known['covered']).sum())} are certified and wrong.",
        f"A needle is a mode that neither a particle nor a chain finds: "
        f"{int(((known['kind'] == 'needle') & known['certified']).sum())} of {int((known['kind'] == 'needle').sum())} "
        "runs are certified, and wrong: what nothing has found is in no estimate and in no doubt.",
    ]
    table = pd.DataFrame(rows).to_markdown(index=False)
    kinds = "\n".join(f"- {kind}: {text}" for kind, text in KINDS.items())
    return (
        "# Annealed importance sampling against known normalisers\n\nWritten by `python scripts/validate_ais.py`; "
        "every run in [validation.csv](validation.csv).\n\n"
        + "\n".join(f"- {fact}" for fact in facts)
        + f"\n\n{table}\n\nWidth is that of the nominal 99 % interval.\n\n{kinds}\n"
    )


def main() -> None:
    """Measures every case; the table and the page are written again after each energy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="energies whose name begins so; nothing is written")
    parser.add_argument("--resume", action="store_true", help="keep the lines of a run that was stopped")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = HOME / "results" / "likelihood"
    table = folder / "validation.csv"
    kept = pd.read_csv(table, keep_default_na=False) if options.resume and table.exists() else pd.DataFrame()
    lines = [{str(k): v for k, v in line.items()} for line in kept.to_dict("records")]
    seen = {(str(line["energy"]), line["seed"]) for line in lines}
    done = {energy for energy, _ in seen if all((energy, seed) in seen for seed in SEEDS)}
    for group in (analytic(), traps(), trained(options.only, done)):
        for case in group:
            if not case.name.startswith(options.only) or case.name in done:
                continue
            for seed in SEEDS:
                if (case.name, seed) in seen:
                    continue
                lines.append(measured(case, seed))
                print(*lines[-1].values(), flush=True)
            if not options.only:
                folder.mkdir(parents=True, exist_ok=True)
                frame = pd.DataFrame(lines)
                frame.to_csv(table, index=False, encoding="utf-8", lineterminator="\n")
                (folder / "validation.md").write_text(summary(frame), encoding="utf-8")
    page = summary(pd.DataFrame(lines))
    if options.only:
        print(page)
    else:
        (folder / "validation.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
