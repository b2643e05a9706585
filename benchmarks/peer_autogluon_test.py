"""The accuracy of what `peer_autogluon` has left in the working folder on a folder of test images.

python -m benchmarks.peer_autogluon_test FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from autogluon.multimodal import MultiModalPredictor

from benchmarks.peer_autogluon import PREDICTOR, table


def main() -> None:
    predictor = MultiModalPredictor.load(str(PREDICTOR.resolve()), verbosity=0)
    print(predictor.evaluate(table(Path(sys.argv[1])), metrics=["accuracy"])["accuracy"])


if __name__ == "__main__":
    main()
