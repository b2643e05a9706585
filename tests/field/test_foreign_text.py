"""Names, reasons and texts of others are shown as they are: no markup, no steering, no forged line."""

from __future__ import annotations

import ast
import base64
import io
import json
import logging
import re
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from rich.table import Table

from sweeper.config.dataset import CsvConfig
from sweeper.config.sweep import SweepConfig
from sweeper.credentials import HidingFormatter
from sweeper.curation.check import check
from sweeper.curation.image_list import read_image_list
from sweeper.curation.page import html_page
from sweeper.display.cells import add_column, add_row, message, new_table
from sweeper.display.live import LiveTable
from sweeper.display.plain import PlainLines
from sweeper.display.tables import findings_table, ranked_table, status_table
from sweeper.paths import Workspace
from sweeper.report.page import study_page
from sweeper.results import TrialOutcome, TrialRow, TrialSpec, TrialState
from sweeper.safeguards.printable import one_line, printable
from sweeper.standings.no_winner import without_winner
from sweeper.upkeep.finding import Finding
from tests.functional.answer import Ask, ask
from tests.functional.program import REPOSITORY
from tests.report.studies import sweep_of, write_images, write_study

__all__ = ["ask"]  # a fixture

HOSTILE = {
    "closes markup": "bad shape [/data/x]",
    "markup": "[bold red]x[/bold red] :warning: [link=http://evil]y[/link]",
    "escape": "\x1b[2J\x1b]8;;http://evil\x07click",
    "C1": "\x9b2J\x85",
    "right to left": "invoice\u202efdp.exe \u2066x\u2069",
    "a forged line": "x\nstudy s: 99 of 99 trials ended\r\u2028x",
    "no UTF-8": "caf\udce9",
}
RAW = re.compile(r"[\x00-\x09\x0b-\x1a\x1c-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029]")
OURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # what rich writes for colours and cursor
SWEEP = SweepConfig.model_validate(
    {"study": "s", "dataset": {"builtin": "digits"}, "search": {"backbone": "resnet18"}, "budget": {"trials": 2}}
)


@pytest.fixture(params=list(HOSTILE.values()), ids=list(HOSTILE))
def hostile(request: pytest.FixtureRequest) -> str:
    text: str = request.param
    return text


def on_a_terminal(show: Callable[[Console], None]) -> str:
    """Return what a terminal is sent."""
    sent = io.StringIO()
    show(Console(file=sent, force_terminal=True, width=400, color_system="truecolor"))
    return sent.getvalue()


def require_as_it_is(sent: str, text: str) -> None:
    """Nothing of the text is left out, nothing of it acts."""
    plain = OURS.sub("", sent)
    assert one_line(text) in plain.replace("\n", " ")
    assert not RAW.search(plain.replace("\r", ""))
    assert "\x1b" not in plain
    assert not re.search(r"^study s: 99", plain, re.MULTILINE)


def failed(reason: str) -> TrialOutcome:
    return TrialOutcome(state=TrialState.FAILED, reason=reason)


def row_of(reason: str) -> TrialRow:
    return TrialRow(
        number=0,
        state=TrialState.FAILED,
        value=None,
        best_epoch=None,
        epochs=0,
        seconds=1.0,
        ended_ms=1,
        params={},
        config_json=None,
        reason=reason,
    )


def printed(table: Table, console: Console) -> None:
    console.print(table)


def test_a_table_of_trials_shows_a_reason_as_it_is(hostile: str) -> None:
    for table in (status_table([row_of(hostile)], SWEEP), findings_table([Finding("disk", hostile, hostile)])):
        require_as_it_is(on_a_terminal(partial(printed, table)), hostile)
    assert ranked_table([row_of(hostile)], SWEEP, brief=True)


def test_headings_and_titles_of_tables_are_text_too(hostile: str) -> None:
    table = new_table(hostile)
    add_column(table, hostile)
    add_row(table, hostile)
    require_as_it_is(on_a_terminal(lambda console: console.print(table)), hostile)


@pytest.mark.parametrize("view", [LiveTable, PlainLines])
def test_a_running_sweep_shows_reasons_as_they_are(view: type[LiveTable] | type[PlainLines], hostile: str) -> None:
    spec = TrialSpec.model_validate({"number": 0, "seed": 0, "epochs": 1, "config": {"backbone": "resnet18"}})

    def show(console: Console) -> None:
        with view(console) as observer:
            observer.study_opened(SWEEP, [row_of(hostile)], 2)
            observer.trial_started(spec)
            observer.trial_ended(0, failed(hostile))
            observer.worker_died(None, hostile)
            observer.slot_retired(hostile, 1)
            observer.tracking_trouble(hostile)

    require_as_it_is(on_a_terminal(show), hostile)


def test_a_study_without_a_winner_is_reported_with_each_reason_on_one_line(hostile: str) -> None:
    sent = on_a_terminal(lambda console: console.print(message(without_winner("s", [row_of(hostile)])), soft_wrap=True))
    require_as_it_is(sent, hostile)
    assert sent.count("\n") == 3


def test_messages_keep_their_own_lines_and_nothing_else(hostile: str) -> None:
    sent = on_a_terminal(lambda console: console.print(message(f"first\n{one_line(hostile)}"), soft_wrap=True))
    require_as_it_is(sent, hostile)
    assert sent.startswith("first\n")


def test_a_log_record_is_text(hostile: str) -> None:
    record = logging.LogRecord("x", logging.WARNING, "", 1, "about %s", (hostile,), None)
    assert HidingFormatter("%(message)s").format(record) == printable(f"about {hostile}")
    assert not RAW.search(printable(hostile).replace("\n", ""))


def write_hostile_folders(root: Path) -> None:
    """Write class folders and images whose names hold all that a file system lets them hold."""
    for number, name in enumerate(HOSTILE.values()):
        folder = root / f"c{name.replace('/', '_')}".encode(errors="replace").decode()  # classes must be UTF-8
        folder.mkdir(parents=True)
        for image in range(2):
            pixels = np.full((8, 8, 3), 20 * number + image, np.uint8)
            Image.fromarray(pixels).save(folder / f"{image}{name.replace('/', '_')}.png")
        (folder / f"bad{name.replace('/', '_')}.png").write_bytes(b"")


def test_names_of_files_and_classes_steer_no_terminal_and_forge_no_line(ask: Ask, tmp_path: Path) -> None:
    write_hostile_folders(tmp_path / "d")
    (tmp_path / "space.yaml").write_text("study: s\ndataset: {path: d}\nsearch: {backbone: test_resnet}\n")
    for command in (("data", "check", "d"), ("data", "check", "d", "--json"), ("run", "space.yaml")):
        answer = ask(*command)
        said = answer.out + answer.err
        assert answer.code in (1, 3)
        assert not RAW.search(said.replace("\n", ""))
        assert "\x1b" not in said
        assert not re.search(r"^\s*study s: 99", said, re.MULTILINE)
        assert "bad" in said


def test_the_page_of_a_check_shows_names_as_they_are(tmp_path: Path) -> None:
    write_hostile_folders(tmp_path / "d")
    page = html_page(check(read_image_list(tmp_path / "d", CsvConfig(), Workspace(tmp_path))))
    assert not RAW.search(page.replace("\n", ""))
    assert r"invoice\u202efdp" in page


def test_a_report_names_each_image_rightly_although_a_name_has_a_newline(workspace: Workspace) -> None:
    classes = ["a\nb", "c\u202ed"]
    paths = write_images(workspace.root / "images", classes, of_each=4)
    store = write_study(workspace, sweep_of(data=str(workspace.root / "images")), paths, classes, trials=3)
    page = study_page(workspace, store, f"sqlite:///{workspace.mlflow_database}")
    assert not RAW.search(page.replace("\n", ""))
    payload = json.loads(page.split('id="payload">')[1].split("</script>")[0])
    assert payload["classes"] == ["a\\nb", "c\\u202ed"]
    names = _inflated(payload["images"]["names"]).split("\n")
    assert names == [one_line(path) for path in paths]


def _inflated(blob: str) -> str:
    return zlib.decompress(base64.b64decode(blob)).decode()


WAYS = {"print", "out", "log", "rule", "input", "status"}
DISPLAY = (
    "sweeper/display/cells.py",
    "sweeper/display/live.py",
    "sweeper/display/plain.py",
    "sweeper/display/watch.py",
    "sweeper/commands/terminal.py",
)


def sources() -> list[Path]:
    return sorted((REPOSITORY / "sweeper").rglob("*.py"))


def other_ways(source: Path) -> list[str]:
    """Return what in a file reaches the terminal past `display/cells.py` and `commands/terminal.py`."""
    name, tree = source.relative_to(REPOSITORY).as_posix(), ast.parse(source.read_text())
    found = []
    for node in ast.walk(tree):
        line = f"{name}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.ImportFrom | ast.Import):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names]
            allowed = name in DISPLAY or (
                name.startswith("sweeper/display/") and modules[0] in ("rich.table", "rich.text")
            )
            found += [f"{line} imports {module}" for module in modules if module.startswith("rich") and not allowed]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            caller, called = ast.unparse(node.func.value), node.func.attr
            to_console = re.search(r"(^|[._])(out|err|console)$", caller) and called in WAYS
            by_typer = caller == "typer" and called in ("echo", "secho", "confirm", "prompt")
            by_stream = caller in ("sys.stdout", "sys.stderr") and called == "write"
            allowed = name in DISPLAY or (by_stream and name == "sweeper/credentials.py")
            if (to_console or by_typer or by_stream) and not allowed:
                found.append(f"{line} calls {caller}.{called}")
            if called in ("add_row", "add_column") and name != "sweeper/display/cells.py":
                found.append(f"{line} calls {caller}.{called}")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called = node.func.id
            if (called in ("Text", "Table", "Console") or called == "print") and name not in DISPLAY[:1]:
                found.append(f"{line} calls {called}")
        if isinstance(node, ast.keyword) and node.arg in ("markup", "highlight", "emoji"):
            if isinstance(node.value, ast.Constant) and node.value.value is False:
                continue
            found.append(f"{line} sets {node.arg}")
    return found


ALLOWED = {"sweeper/commands/terminal.py calls Console", "sweeper/engines/reason.py calls print"}
"""The two consoles, and what a worker leaves in its log for the driver, which shows it as a reason."""


def test_there_is_one_way_to_the_terminal() -> None:
    found = [way for source in sources() for way in other_ways(source)]
    assert [way for way in found if re.sub(r":\d+", "", way) not in ALLOWED] == []


@pytest.mark.parametrize(
    "code",
    [
        "from rich.markup import escape",
        "import rich",
        "from rich import print",
        "out.print(f'{name}')",
        "self._console.print(name)",
        "err.status(name)",
        "table.add_row(name)",
        "typer.echo(name)",
        "print(name)",
        "sys.stdout.write(name)",
        "Text(name)",
        "x(markup=True)",
    ],
)
def test_another_way_to_the_terminal_is_found(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.field.test_foreign_text.REPOSITORY", tmp_path)
    (tmp_path / "sweeper").mkdir()
    (tmp_path / "sweeper/new.py").write_text(f"{code}\n")
    assert other_ways(tmp_path / "sweeper/new.py")


def test_a_table_for_other_programs_keeps_names_that_are_no_utf8(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    from sweeper.commands.terminal import write

    write("path,class\ncaf\udce9.png,cat\n")
    assert capfdbinary.readouterr().out == b"path,class\ncaf\xe9.png,cat\n"
