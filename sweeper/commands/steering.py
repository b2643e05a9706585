"""Commands that steer a study while `sweeper run` is on it, in another terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sweeper.commands.options import studies_here
from sweeper.commands.studies import this_workspace
from sweeper.commands.terminal import say

if TYPE_CHECKING:
    from sweeper.paths import StudyFolder
    from sweeper.study.requests import Inbox, Request

PATIENCE_S = 10.0
"""A driver looks twice a second, unless its storage keeps it waiting."""

RunningStudy = Annotated[str, typer.Argument(help="Name of the study.", autocompletion=studies_here)]
OnlyRunningStudy = Annotated[
    str | None,
    typer.Argument(
        help="Name of the study; by default the one that runs in this folder, if it is the only one.",
        autocompletion=studies_here,
    ),
]


def stop(study: OnlyRunningStudy = None) -> None:
    """Start no more trials and let the running ones finish. The same `sweeper run` goes on later."""
    from sweeper.study.requests import Stop

    _ask(study, Stop())


def pause(study: OnlyRunningStudy = None) -> None:
    """Let each trial wait at the end of its epoch, and start none; workers keep their memory."""
    from sweeper.study.requests import Pause

    _ask(study, Pause())


def resume(study: OnlyRunningStudy = None) -> None:
    """Let the trials of a paused study go on."""
    from sweeper.study.requests import Resume

    _ask(study, Resume())


def skip(trial: Annotated[str, typer.Argument(metavar="STUDY/NUMBER", help="The trial that is to end.")]) -> None:
    """End a trial with the epoch that it is in; it counts as pruned, and the next one starts."""
    from sweeper.errors import ConfigError, Problem
    from sweeper.study.requests import Skip

    study, _, number = trial.rpartition("/")
    if not study or not number.isdecimal():
        raise ConfigError([Problem("STUDY/NUMBER", "", f"should name a trial, such as mushrooms/7, got {trial}")])
    _ask(study, Skip(number=int(number)))


def enqueue(
    study: RunningStudy,
    settings: Annotated[
        list[str], typer.Argument(metavar="KEY=VALUE", help="Keys of `search`, such as optimizer.lr=0.01.")
    ],
    name: Annotated[str | None, typer.Option(help="What the configuration is called, by default its settings.")] = None,
) -> None:
    """Try a configuration next. The sampler chooses what it leaves out; each name is tried once."""
    from sweeper.config.document import read_document
    from sweeper.errors import ConfigError, Problem
    from sweeper.study.requests import Enqueue

    document = read_document("{}", "KEY=VALUE")
    for setting in settings:
        if "=" not in setting:
            rule = f"a setting is written KEY=VALUE, as in optimizer.lr=0.01, got {setting}"
            raise ConfigError([Problem("KEY=VALUE", "", rule)])
        document.override(setting.removeprefix("search."), option="")
    if document.problems:
        raise ConfigError(document.problems)
    called = name or " ".join(settings)
    _ask(study, Enqueue(name=called, settings=document.data))


def set_budget(
    study: RunningStudy,
    settings: Annotated[list[str], typer.Argument(metavar="trials=N|workers=N", help="What is to change.")],
) -> None:
    """Change how many trials a running study has in all, or trains at the same time.

    The next `sweeper run` uses the numbers of its search space and of its --workers again.
    """
    for request in [_change(setting) for setting in settings]:
        _ask(study, request)


def _change(setting: str) -> Request:
    """Return what a setting asks for. Raises ConfigError."""
    from pydantic import ValidationError

    from sweeper.errors import ConfigError, Problem
    from sweeper.study.requests import MOST_WORKERS, SetTrials, SetWorkers

    key, _, value = setting.partition("=")
    most = {"trials": 1_000_000, "workers": MOST_WORKERS}.get(key)
    if most is None:
        rule = (
            f"only trials=N and workers=N can be changed while a study runs, got {setting}; the rest follows the file"
        )
        raise ConfigError([Problem("KEY=N", "", rule)])
    try:
        if key == "workers":
            return SetWorkers.model_validate({"workers": int(value)})
        return SetTrials.model_validate({"trials": int(value)})
    except (ValueError, ValidationError):
        raise ConfigError([Problem(key, "", f"should be a whole number from 1 to {most:,}, got {value}")]) from None


def _ask(study: str | None, request: Request) -> None:
    """Leave a request to a running study and wait for its driver. Raises StudyError where none runs or it refuses."""
    from sweeper.errors import StudyError
    from sweeper.study.lock import is_running
    from sweeper.study.requests import wait_for_answer

    workspace = this_workspace()
    running = [name for name in workspace.studies_run() if is_running(workspace.study(name))]
    name = study or (running[0] if len(running) == 1 else None)
    if name is None:
        several = f"name the study: {', '.join(running)} run here"
        raise StudyError(several if running else "no study runs in this folder")
    if not is_running(workspace.study(name)):
        raise StudyError(f"the study {name} does not run in this folder; `sweeper run` starts it")
    path = _inbox(workspace.study(name), name, request).put(request)
    done = wait_for_answer(path, PATIENCE_S)
    if done is None:
        raise StudyError(f"the study {name} has not answered in {PATIENCE_S:g} s, and nothing was done; try again")
    say(f"study {name}: {done}")


def _inbox(folder: StudyFolder, study: str, request: Request) -> Inbox:
    """Return where the process that holds a study looks for such a request. Raises StudyError where it does not."""
    from sweeper.errors import StudyError
    from sweeper.study.lock import CONFIRMS, other_work
    from sweeper.study.requests import Inbox, Pause, Resume, SetWorkers, Stop

    other = other_work(folder)
    if other is None:
        return Inbox.of(folder)
    held = f"the study {study} is held by {other}"
    if not other.endswith(CONFIRMS):
        raise StudyError(f"{held} and takes no requests meanwhile; wait for it, or press Ctrl-C where it runs")
    if not isinstance(request, Stop | Pause | Resume | SetWorkers):
        raise StudyError(
            f"{held}, and only takes stop, pause, resume and set workers=N meanwhile; wait for it, or stop it"
        )
    return Inbox.of(folder.confirmation)
