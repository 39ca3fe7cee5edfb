"""What the rule for parts of pictures was chosen by, drawn: of copies, and of pairs of photos."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from app.matching.evidence import Evidence
from app.matching.kinds import Rule, strength


def plot(copies: Sequence[Evidence], pairs: Sequence[Evidence], rule: Rule, path: Path) -> None:
    """Draw how both correlate, and what share of either is left by how much speaks for it, to an SVG or PNG."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    for name, found, colour in (("copies", copies, "#1f69c1"), ("pairs of photos", pairs, "#c4161c")):
        low, score = np.array([(each.low, each.score) for each in found]).T
        left.plot(low, score, ".", markersize=2.5, color=colour, alpha=0.5, label=f"{len(found):,} {name}")
    left.axvline(rule.copy_low, color="black", linewidth=0.8)
    left.axhline(rule.copy_score, color="black", linewidth=0.8)
    left.axhline(rule.clear_score, color="black", linewidth=0.8, linestyle=":")
    left.set(
        xlabel="what three quarters of a part correlate by", ylabel="what its smallest parts correlate by"
    )
    left.legend(loc="lower right", markerscale=4)
    told = np.linspace(0, 2.6, 131)
    for name, found, colour in (("copies", copies, "#1f69c1"), ("pairs of photos", pairs, "#c4161c")):
        strengths = np.array(
            [strength(each) for each in found if each.low >= rule.copy_low and each.score >= rule.copy_score]
        )
        right.plot(
            told, [(strengths >= least).sum() / len(found) for least in told], color=colour, label=name
        )
    right.axvline(rule.copy_strength, color="black", linewidth=0.8)
    right.set(
        xlabel="strength, at least", ylabel="share of these that also correlate as copies do", yscale="log"
    )
    right.legend(loc="lower left")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)
