"""How the labels of plug-ins are written for a reader."""

from __future__ import annotations

import re


def display_name(label: str) -> str:
    """A plug-in's label as a reader writes it, with spaces at which a line may break."""
    name, bracket, inside = label.partition("[")
    return name.replace("_", " ") + (" [" + re.sub(r",(?=\S)", ", ", inside) if bracket else "")
