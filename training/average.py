"""Average the weights of checkpoints of one trajectory.

Usage: ``python -m training.average build/run3/final.pt build/run4/final.pt --out build/guard/final.pt``.
"""

import argparse
from pathlib import Path
from typing import Any

import torch


def average(paths: list[Path]) -> dict[str, Any]:
    """Return the last checkpoint with the mean of all weights, in float32.

    Parameters
    ----------
    paths : list of Path
        Files written by ``training.train``, of one shape and one tokenizer.

    Returns
    -------
    dict
        A checkpoint that ``training.export`` reads.

    Raises
    ------
    ValueError
        Where the tokenizers differ: the same row would be another token.
    """
    saved = [torch.load(path, map_location="cpu", weights_only=True) for path in paths]
    if any(other["backend"] != saved[0]["backend"] for other in saved):
        raise ValueError("the checkpoints have different tokenizers and cannot be averaged")
    names = saved[0]["weights"]
    mean = {name: torch.stack([one["weights"][name].float() for one in saved]).mean(0) for name in names}
    return {**saved[-1], "weights": mean}


def main() -> None:
    """Average and write."""
    parser = argparse.ArgumentParser(description="Average the weights of checkpoints.")
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("build/guard/final.pt"))
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save(average(args.checkpoints), args.out)


if __name__ == "__main__":
    main()
