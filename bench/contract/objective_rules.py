"""The contract of an objective."""

from __future__ import annotations

import copy
import inspect
import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bench.common.errors import UsageError
from bench.common.run_spec import OptimiserSpec
from bench.contract import stationarity
from bench.contract.declaration_rule import check_declaration
from bench.contract.host_sync import host_syncs
from bench.contract.rule import Broken, Rule, agree, other_global_seed, require
from bench.contract.source_lines import global_draws
from bench.core.derivatives import Energy
from bench.core.rng import Rng
from bench.plugins import builders, registry
from bench.training.state import forgotten
from bench.training.trainer import Learner

STEPS = 20
BATCH = 32
TRAINING = 256
SEEDS = (5, 3, 8)
LOCAL_SCALE = 0.5
ROUNDING = 1e-6  # float64 under chains and Adam, which divides small gradients by small gradients


class Bench:
    """One objective, a small network and the streams of both, for one seed or for a stack."""

    def __init__(
        self,
        plugin: registry.Plugin,
        ref: str,
        seed: int | list[int] = 0,
        event: tuple[int, ...] = (2,),
        dtype: torch.dtype = torch.float64,
    ) -> None:
        if plugin.info.max_dim is not None and math.prod(event) > plugin.info.max_dim:
            event = (1,)
        self.rng, self.data_rng = Rng(seed), Rng(seed, "data")
        self.conditional = plugin.info.conditional
        self.network = builders.network(
            "mlp", event, Rng(seed, "init"), conditional=self.conditional, width=16, depth=2
        ).to(dtype)
        self.x_train = self.data_rng.normal((*self.data_rng.batch_shape(TRAINING), *event), dtype)
        self.x = self.data_rng.normal((*self.data_rng.batch_shape(BATCH), *event), dtype)
        self.objective = builders.objective(ref, self.x_train, self.rng, local_scale=LOCAL_SCALE)
        self.learner = Learner(self.network, self.objective, OptimiserSpec())

    def loss(self, energy: Energy | None = None) -> Tensor:
        loss: Tensor = self.objective(energy or self.network, self.x, self.rng)
        return loss

    def draws(self) -> Tensor:
        """What the objective's own sampler draws, as many as x has examples."""
        drawn = self.objective.sample(self.network, self.x, self.rng)
        assert drawn is not None
        return drawn

    def train(self, steps: int) -> list[Tensor]:
        """The mean losses of some Adam steps."""
        batches = [self.x.roll(t, self.rng.batch_ndim - 1)[..., : BATCH // 2, :] for t in range(steps)]
        return [self.learner.update(self.network, batch, self.rng) for batch in batches]


def _signature(plugin: registry.Plugin, ref: str) -> str:
    function: Any = plugin.target.forward if plugin.has_memory else plugin.target  # type: ignore[attr-defined]

    def positional(f: Any) -> list[str]:
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return [p.name for p in inspect.signature(f).parameters.values() if p.kind in kinds and p.name != "self"]

    got = positional(function)
    require(got == ["energy", "x", "rng"], f"takes (energy, x, rng), and all else by keyword; got ({', '.join(got)})")
    if plugin.has_memory:
        built = positional(plugin.target)
        require(built == ["x_train", "rng"], f"a class is built from (x_train, rng); got ({', '.join(built)})")
        require(issubclass(plugin.target, nn.Module), "a class must be a torch.nn.Module")  # type: ignore[arg-type]
    plugin.resolve(**plugin.info.proof)
    shown = ", ".join(f"{p.name}={p.default!r}" for p in plugin.parameters.values())
    return f"(energy, x, rng{', ' + shown if shown else ''})"


def _loss(plugin: registry.Plugin, ref: str) -> str:
    for seed in (0, [0, 1]):
        for dtype in (torch.float32, torch.float64):
            bench = Bench(plugin, ref, seed, dtype=dtype)
            batch = bench.x.shape[: bench.rng.batch_ndim]
            loss = bench.loss()  # whose shape the loader looks at
            require(bool(loss.isfinite().all()), f"the loss is not finite on a batch {tuple(batch)}")
            require(loss.dtype == dtype, f"x of {dtype} gives a loss of {loss.dtype}")
    return "one finite number an example, in float32 and float64"


def _calls(plugin: registry.Plugin, ref: str) -> str:
    bench = Bench(plugin, ref)
    seen: list[str] = []

    def spy(x: Tensor, *condition: Tensor) -> Tensor:
        count = int(bool(bench.conditional))
        require(len(condition) == count, f"a {plugin.info.energy} energy got {len(condition)} conditions")
        known = {"the batch shape": x.shape[: bench.rng.batch_ndim]}
        if bench.conditional == "axes":
            known["the shape of x"] = x.shape
        for sigma in condition:
            require(
                isinstance(sigma, Tensor) and sigma.shape in known.values(),
                f"sigma must have {' or '.join(f'{name} {tuple(shape)}' for name, shape in known.items())}; got "
                f"{tuple(getattr(sigma, 'shape', ()))}",
            )
            require(bool((sigma > 0).all()), "sigma must be positive")
        seen.append("call")
        return bench.network(x, *condition)  # type: ignore[no-any-return]

    bench.loss(spy)
    each = "a coordinate" if bench.conditional == "axes" else "an example"
    arguments = f"(x, sigma), sigma one {each}" if bench.conditional else "(x)"
    return f"{len(seen)} calls of energy{arguments} a step"


def _gradient(plugin: registry.Plugin, ref: str) -> str:
    bench = Bench(plugin, ref)
    bench.loss().mean().backward()
    gradients = [p.grad for p in bench.network.parameters() if p.grad is not None]
    require(any(bool(g.any()) for g in gradients), "no gradient reaches the energy; is something detached?")
    require(all(bool(g.isfinite().all()) for g in gradients), "the gradient is not finite")
    norm = float(torch.stack([g.square().sum() for g in gradients]).sum().sqrt())
    return f"reaches the energy, norm {norm:.3g}"


def _private(plugin: registry.Plugin, ref: str) -> str:
    if lines := global_draws(lambda: Bench(plugin, ref).loss(), plugin.path):
        also = f", and {len(lines) - 1} more" if len(lines) > 1 else ""
        raise Broken("draws from torch's global state; draw from rng, as rng.normal_like(x) does", lines[0] + also)
    a, b = (other_global_seed(k, lambda: Bench(plugin, ref).loss()) for k in range(2))
    require(torch.equal(a, b), "another global seed gives another loss; draw everything from rng")
    return "the same rng gives the same loss to the bit under another global seed"


def _untouched(plugin: registry.Plugin, ref: str) -> str:
    bench = Bench(plugin, ref)
    given = [bench.x, bench.x_train]
    copies = [t.clone() for t in given]
    bench.objective = builders.objective(ref, bench.x_train, bench.rng, local_scale=LOCAL_SCALE)
    bench.loss().mean().backward()
    for name, before, after in zip(("x", "x_train"), copies, given, strict=True):
        require(torch.equal(before, after), f"{name} was changed in place; work on a copy")
        require(after.grad is None and not after.requires_grad, f"{name} was made to require a gradient")
    return "x and x_train are left as they were"


def _event_shape(plugin: registry.Plugin, ref: str) -> str:
    limit = plugin.info.max_dim
    if limit is not None and limit < 2:
        return "takes one dimension only"
    image = (1, 2, 2) if limit is None or limit >= 4 else (2, 1, 1)
    flat, shaped = (Bench(plugin, ref, event=event).loss() for event in ((math.prod(image),), image))
    require(
        agree(shaped, flat, 1e-9),
        f"events {image} give another loss than the same flattened; sum over all event dimensions (sum_event)",
    )
    return f"events {image} give the loss of the flattened ones"


def _stack(plugin: registry.Plugin, ref: str) -> str:
    stack = Bench(plugin, ref, list(SEEDS))
    first = stack.loss()
    stack.train(STEPS)
    for i, seed in enumerate(SEEDS):
        alone = Bench(plugin, ref, seed)
        require(agree(first[i], alone.loss(), ROUNDING), f"seed {seed} has another loss in a stack than alone")
        alone.train(STEPS)
        for ours, own in zip(stack.network.parameters(), alone.network.parameters(), strict=True):
            require(
                agree(ours[i], own, ROUNDING),
                f"seed {seed} has other weights after {STEPS} steps in a stack than alone",
            )
    return f"{len(SEEDS)} seeds: loss, and weights after {STEPS} steps"


def _resume(plugin: registry.Plugin, ref: str) -> str:
    bench = Bench(plugin, ref)
    bench.train(3)
    parts = ("network", "objective", "rng")
    saved = copy.deepcopy({name: getattr(bench, name).state_dict() for name in parts})
    saved["optimiser"] = copy.deepcopy(bench.learner.optimiser.state_dict())
    twin = Bench(plugin, ref, seed=0)
    twin.objective.load_state_dict(saved["objective"])
    lost = ", ".join(forgotten(bench.objective, twin.objective, bench.rng)).replace("loss.", "")
    expected = bench.train(3)
    fresh = Bench(plugin, ref, seed=0)
    fresh.train(1)
    for name in parts:
        getattr(fresh, name).load_state_dict(saved[name])
    fresh.learner.optimiser.load_state_dict(saved["optimiser"])
    same = all(torch.equal(a, b) for a, b in zip(expected, fresh.train(3), strict=True))
    require(same, "does not go on as it was; keep all memory in buffers and parameters")
    require(
        not lost,
        f"keeps {lost} outside of buffers and parameters, where no checkpoint finds it: use register_buffer, or give "
        "get_extra_state and set_extra_state",
    )
    return "goes on from its state to the bit"


def _queue(plugin: registry.Plugin, ref: str) -> str:
    if plugin.info.host_work:
        return f"not tried, as declared: {plugin.info.host_work}"
    for seed in (0, list(SEEDS)):
        bench = Bench(plugin, ref, seed)
        bench.train(1)
        found = host_syncs(lambda bench=bench: bench.train(1))  # type: ignore[misc]
        require(
            not found,
            f"makes a GPU wait in every step: {', '.join(found)}; keep numbers in tensors (where, gather) and make "
            "tensors with device=x.device or like x (full_like, x.new_full)",
        )
    return "nothing in a step makes a GPU wait for the host"


def _own_sampler(plugin: registry.Plugin, ref: str) -> str:
    if plugin.info.sampler is None:
        return "none declared"
    stack, again = (other_global_seed(k, lambda: Bench(plugin, ref, list(SEEDS)).draws()) for k in range(2))
    require(torch.equal(stack, again), "another global seed gives other draws; draw everything from rng")
    require(bool(stack.isfinite().all()), "its draws are not finite")
    for i, seed in enumerate(SEEDS):
        own = Bench(plugin, ref, seed).draws()
        require(agree(stack[i], own, ROUNDING), f"seed {seed} draws other points in a stack than alone")
    return f"draws {tuple(stack.shape[1:])}, from rng alone, in a stack as alone"


def _minimiser(plugin: registry.Plugin, ref: str, calls: int = stationarity.CALLS) -> str:
    place = stationarity.place(plugin.info)
    if not place and not plugin.info.control:
        return "no law is declared as the minimiser, and no other place as stationary: no test applies"
    verdicts = list(stationarity.verdicts(plugin, ref, calls))
    left_out = [
        f"{law.name} left out: {why}" for law in stationarity.LAWS if (why := stationarity.why_not(plugin.info, law))
    ]
    settings = ", ".join(f"{k}={v}" for k, v in {**plugin.info.proof, **plugin.given}.items())
    words = [f"gradient at .9 | 1 | 1.1 of {place or 'the energy of the data'}, in standard errors"]
    words[0] += f", with {settings}" if settings else ""
    words += [f"{verdict}{' <- ' + verdict.warning if verdict.warning else ''}" for verdict in verdicts]
    text = "; ".join(words + left_out)
    if not place:
        require(
            any(v.warning for v in verdicts), f"{text}; a control is wrong, but this is stationary where it should be"
        )
        return f"a control, and not stationary where it should be: {text}"
    if any(verdict.warning for verdict in verdicts):
        raise Broken(f"{text}; if only large steps or noise bias it, declare proof={{...}} with smaller ones")
    return text


def with_draws(draws: int) -> dict[str, Rule]:
    """The rules, the one about the minimiser with at most so many examples a seed and law.

    Raises:
        UsageError: if they are too few for any verdict.
    """
    least = stationarity.FIRST_CALLS * stationarity.BATCH
    if draws < least:
        raise UsageError(f"--draws must be at least {least}; got {draws}")
    return {**RULES, "minimiser": partial(_minimiser, calls=draws // stationarity.BATCH)}


RULES: dict[str, Rule] = {
    "declaration": check_declaration,
    "signature": _signature,
    "loss": _loss,
    "energy's arguments": _calls,
    "gradient": _gradient,
    "private randomness": _private,
    "inputs untouched": _untouched,
    "event shape": _event_shape,
    "stack equals solo": _stack,
    "resume": _resume,
    "no waiting": _queue,
    "own sampler": _own_sampler,
    "minimiser": _minimiser,
}
