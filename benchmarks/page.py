"""Write the tables of all results into docs/performance.md.

    python -m benchmarks.page

Each result stands between `<!-- benchmark: NAME -->` and `<!-- end -->`; the text around is kept. NAME is that of its
file below benchmarks/results, with the folder: what was measured on a GPU is `gpu/NAME`. A file without sections has
its tables on another page.
"""

from __future__ import annotations

import json
import re
import sys

from benchmarks.measurements import ON_GPU, RESULTS, Result
from benchmarks.program import REPOSITORY

PAGE = REPOSITORY / "docs" / "performance.md"
PLACE = re.compile(rf"(<!-- benchmark: ((?:{ON_GPU}/)?\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    results = (file for file in RESULTS.rglob("*.json") if "sections" in json.loads(file.read_text(encoding="utf-8")))
    found = {file.relative_to(RESULTS).with_suffix("").as_posix() for file in results}
    missing = found - {name for _, name, _ in PLACE.findall(page)}
    PAGE.write_text(PLACE.sub(_filled, page), encoding="utf-8")
    if missing:
        sys.exit(
            f"{PAGE.name} has no place for {', '.join(sorted(missing))}: add `<!-- benchmark: NAME --><!-- end -->`"
        )


def _filled(place: re.Match[str]) -> str:
    begin, name, end = place.groups()
    file = RESULTS / f"{name}.json"
    if not file.exists():
        return place[0]
    return f"{begin}{markdown(Result.read(file))}\n{end}"


def markdown(result: Result) -> str:
    return "\n\n".join([_conditions(result), *(section.markdown() for section in result.sections)])


def _conditions(result: Result) -> str:
    measured = result.conditions
    machine = measured["machine"]
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    versions = ", ".join(f"{name} {version}" for name, version in measured["versions"].items())
    return (
        f"`{measured['command']}` at {measured['commit']} on {measured['date']}. Images: {result.images}. "
        f"{machine['processor']}, {machine['cores']} cores{gpu}, {machine['memory_gb']} GB, {machine['system']}, "
        f"load {machine['load']} at the start; {versions}."
    )


if __name__ == "__main__":
    main()
