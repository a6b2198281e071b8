"""Every test runs on one thread, as every run does: with workers beside each other more would only contend."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
