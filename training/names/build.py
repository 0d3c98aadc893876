"""Train on all four sets and write the weights that come with the package.

python -m training.names.build DATA [--output FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from headwater.privacy.names.weights import WEIGHTS, save_weights
from training.names.cross_validate import VARIANTS, variants
from training.names.data import load, select
from training.names.train import Settings, build, prepare, train


def main() -> None:
    """Train with the settings of the cross-validation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with wikigold, wnut17, sec_filings and generated_large.json")
    parser.add_argument("--output", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()
    sentences = select(load(arguments.data))
    base = build()
    model = train([prepare(variants(sentences, number), base) for number in range(VARIANTS)])
    save_weights(model.state_dict(), Settings().frozen, arguments.output)
    print(f"{arguments.output}: {arguments.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
