"""What the rule for parts of pictures was chosen by, drawn: of copies, and of pairs of photos."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from app.matching.evidence import Evidence
from app.matching.kinds import Rule, strength


def plot(copies: Sequence[Evidence], pairs: Sequence[Evidence], rule: Rule, path: Path) -> None:
    """Draw how much of both is alike and how exactly it lies, and what share of either is left by how much speaks
    for it, to an SVG or PNG."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    told = np.linspace(-6, 12, 181)
    for name, found, colour in (("copies", copies, "#1f69c1"), ("pairs of photos", pairs, "#c4161c")):
        shift, share = np.array([(each.shift, each.alike / max(each.blocks, 1)) for each in found]).T
        left.plot(shift, share, ".", markersize=2.5, color=colour, alpha=0.5, label=f"{len(found):,} {name}")
        strengths = np.array([strength(each) for each in found])
        right.plot(
            told, [(strengths >= least).sum() / len(found) for least in told], color=colour, label=name
        )
    left.set(
        xlabel="pixels of 320 that blocks lie beside where they should",
        ylabel="share of blocks that are alike",
        xscale="log",
    )
    left.legend(loc="lower left", markerscale=4)
    right.axvline(rule.copy_strength, color="black", linewidth=0.8)
    right.set(
        xlabel="strength, at least",
        ylabel="share of these",
        yscale="log",
    )
    right.legend(loc="lower left")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)
