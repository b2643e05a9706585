"""Names are checked without timm and torch in the process that asks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]

ASK = """
import sys
from sweeper.config.names_to_check import NamesUsed
from sweeper.modeling.name_check import check_apart

if __name__ == "__main__":
    done = []
    used = NamesUsed({"search": {"backbone": {"choice": ["resnet18", "resnet1O"]}}})
    print(check_apart(used, meanwhile=lambda: done.append(1)), done, "torch" in sys.modules)
"""


def test_an_unknown_name_is_reported_and_the_process_that_asks_imports_neither_timm_nor_torch(tmp_path: Path) -> None:
    (tmp_path / "ask.py").write_text(ASK)
    answer = subprocess.run(
        [sys.executable, "ask.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout == (
        "[('search.backbone.choice[1]', 'unknown architecture resnet1O: did you mean resnet18?')] [1] False\n"
    )
