"""Time of a training step: this project's, by closed forms and by autograd, over a loop by hand and over torchebm.

python scripts/compare_speed.py [--rounds 9] [--steps 10] [--out FILE.md]

One process, one thread, process CPU time, the rivals of a line interleaved in rounds, medians of ratios. All train the
same network (2 → 128 → 128 → 1, SiLU) on the same batch of 256 with fused Adam, ten Langevin steps where there are
chains. torchebm is optional: pip install torchebm==0.8.9. Below: seed-steps a second of stacks over those of one seed.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from bench.common.run_spec import OptimiserSpec
from bench.core.rng import Rng
from bench.plugins import builders
from bench.training.trainer import Learner

BATCH, WIDTH, CHAIN, STEP, SIGMA = 256, 128, 10, 0.01, 0.1
WARM_UP = 3
Step = Callable[[], object]
OURS: dict[str, tuple[str, dict[str, Any]]] = {
    "CD": ("contrastive_divergence", {"steps": CHAIN}),
    "PCD": ("persistent_contrastive_divergence", {"steps": CHAIN}),
    "DSM": ("denoising_score_matching", {}),
    "sliced SM": ("sliced_score_matching", {}),
    "exact SM": ("implicit_score_matching", {}),
}
STACKS = (("mlp", 32, 8), ("mlp", 32, 32), ("mlp", 64, 16), ("fourier_mlp", 64, 16))


def own_step(name: str, *, autograd: bool, network: str = "mlp", width: int = WIDTH, seeds: int = 0) -> Step:
    """One step of this project's trainer; `seeds` > 0 trains a stack."""
    stream: int | range = range(seeds) if seeds else 0
    objective, given = OURS[name]
    x = Rng(stream, "data").normal((*([seeds] if seeds else []), BATCH, 2))
    net = builders.network(network, (2,), Rng(stream, "init"), x_train=x, width=width)
    known = builders.objective(objective, x, Rng(stream, "objective"), local_scale=0.3, **given)
    learner, rng = Learner(net, known, OptimiserSpec()), Rng(stream, "batches")
    # a plain function offers no derivatives of its own, so autograd makes them
    energy = (lambda u, *sigma: net(u, *sigma)) if autograd else net
    return lambda: learner.update(energy, x, rng)


def energy_by_hand() -> nn.Sequential:
    """The same network in torch's own modules; energies (n, 1)."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, 1))


def _score(net: nn.Module, x: Tensor, *, graph: bool) -> Tensor:
    x = x if x.requires_grad else x.detach().requires_grad_()
    found: Tensor = -torch.autograd.grad(net(x).sum(), x, create_graph=graph)[0]
    return found


def _chain(net: nn.Module, x: Tensor) -> Tensor:
    for _ in range(CHAIN):
        moved = x + 0.5 * STEP * _score(net, x, graph=False) + math.sqrt(STEP) * torch.randn_like(x)
        x = moved.detach()
    return x


def step_by_hand(name: str) -> Step:
    """The loop that a person would write."""
    net, x = energy_by_hand(), torch.randn(BATCH, 2)
    optimiser, memory = torch.optim.Adam(net.parameters(), fused=True), [torch.randn(BATCH, 2)]

    def contrast(start: Tensor) -> Tensor:
        memory[0] = _chain(net, start)
        loss: Tensor = net(x).mean() - net(memory[0]).mean()
        return loss

    def denoise() -> Tensor:
        z = torch.randn_like(x)
        return 0.5 * (SIGMA * _score(net, x + SIGMA * z, graph=True) + z).square().sum(1).mean()

    def matched(directions: Tensor) -> Tensor:
        """½‖s‖² + mean over directions v of vᵀ ∇s v, directions (k, 2) or (k, n, 2)."""
        at = x.detach().requires_grad_()
        s = _score(net, at, graph=True)
        curved = [(torch.autograd.grad((s * v).sum(), at, create_graph=True)[0] * v).sum(1) for v in directions]
        return (0.5 * s.square().sum(1) + sum(curved, torch.zeros(()))).mean()

    losses: dict[str, Callable[[], Tensor]] = {
        "CD": lambda: contrast(x),
        "PCD": lambda: contrast(memory[0]),
        "DSM": denoise,
        "sliced SM": lambda: matched(torch.randn(1, BATCH, 2)),
        "exact SM": lambda: matched(torch.eye(2)),
    }

    def step() -> None:
        loss = losses[name]()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def step_of_torchebm(name: str) -> Step:
    """One step with torchebm's loss of that name."""
    from torchebm.core import BaseModel
    from torchebm.losses import ContrastiveDivergence, DenoisingScoreMatching, ScoreMatching, SlicedScoreMatching
    from torchebm.samplers import LangevinDynamics

    class Model(BaseModel):  # type: ignore[misc]  # the library is not typed
        """The same network in its base class."""

        def __init__(self) -> None:
            super().__init__()
            self.net = energy_by_hand()

        def forward(self, x: Tensor) -> Tensor:
            energies: Tensor = self.net(x).squeeze(-1)
            return energies

    model, x = Model(), torch.randn(BATCH, 2)
    chains = LangevinDynamics(model=model, step_size=STEP, device="cpu")

    def contrastive(*, persistent: bool) -> Any:
        return ContrastiveDivergence(
            model=model, sampler=chains, k_steps=CHAIN, persistent=persistent, energy_reg_weight=0.0, device="cpu"
        )

    makers: dict[str, Callable[[], Any]] = {
        "CD": lambda: contrastive(persistent=False),
        "PCD": lambda: contrastive(persistent=True),
        "DSM": lambda: DenoisingScoreMatching(model=model, noise_scale=SIGMA, device="cpu"),
        "sliced SM": lambda: SlicedScoreMatching(model=model, n_projections=1, device="cpu"),
        "exact SM": lambda: ScoreMatching(model=model, hessian_method="exact", device="cpu"),
    }
    loss_of = makers[name]()
    optimiser = torch.optim.Adam(model.parameters(), fused=True)

    def step() -> None:
        found = loss_of(x)
        loss = found[0] if isinstance(found, tuple) else found
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def seconds(rivals: Mapping[str, Step], rounds: int, steps: int) -> dict[str, list[float]]:
    """CPU seconds of `steps` steps of each rival, a number a round, the rivals taking turns."""
    taken: dict[str, list[float]] = {name: [] for name in rivals}
    for k in range(rounds + WARM_UP):
        for name, step in rivals.items():
            began = time.process_time()
            for _ in range(steps):
                step()
            if k >= WARM_UP:
                taken[name].append(time.process_time() - began)
    return taken


def _ratio(a: list[float], b: list[float], factor: float = 1.0) -> str:
    return f"{factor * statistics.median(x / y for x, y in zip(a, b, strict=True)):.2f}"


def over_rivals(rounds: int, steps: int) -> pd.DataFrame:
    """A line an objective: milliseconds, and our time over that of autograd, of the loop by hand and of torchebm."""
    known = importlib.util.find_spec("torchebm") is not None
    lines = []
    for name in OURS:
        rivals = {"own": own_step(name, autograd=False), "autograd": own_step(name, autograd=True)}
        rivals["by hand"] = step_by_hand(name)
        if known:
            rivals["torchebm"] = step_of_torchebm(name)
        taken = seconds(rivals, rounds, steps)
        line = {"objective": name, "ms a step": f"{1e3 * statistics.median(taken['own']) / steps:.2f}"}
        line |= {f"over {rival}": _ratio(taken["own"], taken[rival]) for rival in rivals if rival != "own"}
        lines.append(line if known else line | {"over torchebm": "not installed"})
    return pd.DataFrame(lines)


def stacks(rounds: int, steps: int) -> pd.DataFrame:
    """A line a stack of contrastive divergence: how many times the seed-steps of one seed alone it makes."""
    lines = []
    for network, width, count in STACKS:
        solo, stack = (own_step("CD", autograd=False, network=network, width=width, seeds=n) for n in (0, count))
        taken = seconds({"solo": solo, "stack": stack}, rounds, steps)
        gain = _ratio(taken["solo"], taken["stack"], count)
        lines.append({"network": network, "width": width, "seeds": count, "seed-steps over solo": gain})
    return pd.DataFrame(lines)


def main() -> None:
    """Prints both tables, and writes them if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="Rounds that count (default: %(default)s).")
    parser.add_argument("--steps", type=int, default=10, help="Steps a round (default: %(default)s).")
    parser.add_argument("--out", type=Path, help="Also write the tables to this file (default: nowhere).")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tables = [make(options.rounds, options.steps) for make in (over_rivals, stacks)]
    text = "\n\n".join(str(table.to_markdown(index=False, disable_numparse=True)) for table in tables)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
