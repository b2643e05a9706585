"""Which unit tests belong to a change."""

from __future__ import annotations

from pathlib import Path

from tests.of_changes import importers_of

TESTS = {
    Path("tests/data/test_cache.py"): "from sweeper.data.cache import ImageCache\n",
    Path("tests/data/test_batches.py"): "from sweeper.data import augment, cache\n",
    Path("tests/data/test_caches.py"): "from sweeper.data.caches import other\n",
    Path("tests/study/test_driver.py"): "import sweeper.study.driver as driver\n",
}


def found(*changed: str) -> set[str]:
    return {path.stem for path in importers_of([Path(name) for name in changed], TESTS)}


def test_a_changed_module_is_tested_by_what_imports_it() -> None:
    assert found("sweeper/data/cache.py") == {"test_cache", "test_batches"}
    assert found("sweeper/study/driver.py") == {"test_driver"}


def test_a_module_that_no_test_imports_is_tested_by_its_room() -> None:
    assert found("sweeper/data/splits.py") == {"test_cache", "test_batches", "test_caches"}
    assert found("sweeper/curation/page.html", "docs/data.md", "sweeper/report/page.py") == set()


def test_a_changed_test_is_run_itself() -> None:
    assert found("tests/study/test_driver.py", "tests/study/world.py") == {"test_driver"}
