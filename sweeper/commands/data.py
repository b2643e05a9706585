"""`sweeper data …`: commands that look after a data set before it is trained on. None of them deletes anything."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sweeper.commands.studies import StorageOption, StudyArgument, open_study, this_workspace, winner_of
from sweeper.commands.terminal import progress_bar, say, show, warn, write_json

if TYPE_CHECKING:
    from sweeper.config.dataset import DatasetConfig
    from sweeper.curation.clean import Candidate
    from sweeper.curation.source import Source
    from sweeper.data.groups import Grouping
    from sweeper.data.listing import Listing
    from sweeper.outputs import Output

app = typer.Typer(
    help="Split, check and clean a data set; nothing is ever deleted.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

SHEET_IMAGES = 200

PathColumnOption = Annotated[str | None, typer.Option(help="Column with the image's path or name.")]
LabelColumnOption = Annotated[str | None, typer.Option(help="Column with the class.")]
CsvImagesOption = Annotated[str, typer.Option(help="Folder of the images of a CSV file, relative to the file.")]
ExtensionOption = Annotated[str, typer.Option(help="Appended to the names in a CSV file, such as .jpg.")]
ForceListOption = Annotated[bool, typer.Option("--force", help="Replace a list that was edited since.")]


@app.command()
def split(
    source: Annotated[Path, typer.Argument(help="Class folders, or a CSV file of images and labels.")],
    train_fraction: Annotated[
        float | None, typer.Option(help="Share of the training split, in place of val's.")
    ] = None,
    val_fraction: Annotated[float | None, typer.Option(help="Share of the validation split, by default 0.2.")] = None,
    test_fraction: Annotated[float, typer.Option(help="Share of the test split.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other images.")] = 0,
    class_codes: Annotated[
        Path | None, typer.Option(help='JSON file that encodes the labels: {"cat": 0} or {"0": "cat"}.')
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Folder of the lists, by default SOURCE-splits.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace lists that are there.")] = False,
    group_column: Annotated[
        str | None, typer.Option(help="Column, such as patient_id, whose images with one value stay in one list.")
    ] = None,
    group_from: Annotated[
        str | None, typer.Option(metavar="REGEX", help="The same, from the path of each image.")
    ] = None,
    labels: Annotated[
        Literal["as_written", "normalize"], typer.Option(help="normalize: classes that look alike are one.")
    ] = "as_written",
    missing_labels: Annotated[
        Literal["error", "skip", "keep"], typer.Option(help="What a row does whose label is nan, None, NA or empty.")
    ] = "error",
    path_column: PathColumnOption = None,
    label_column: LabelColumnOption = None,
    csv_images: CsvImagesOption = ".",
    extension: ExtensionOption = "",
) -> None:
    """Write train.csv, valid.csv and perhaps test.csv: stratified, seeded, copies and groups on one side."""
    from sweeper.curation.split import draw, told, write_splits

    dataset = _dataset(
        path=str(source),
        csv={"path_column": path_column, "label_column": label_column, "images": csv_images, "extension": extension},
        val_fraction=_val_fraction(train_fraction, val_fraction, test_fraction),
        test_fraction=test_fraction,
        split_seed=seed,
        group_column=group_column,
        group_from=group_from,
        labels=labels,
        missing_labels=missing_labels,
    )
    listing = _listing(dataset, class_codes)
    drawn = draw(listing, dataset, this_workspace().cache)
    folder = to or source.with_name(f"{source.absolute().name.removesuffix('.csv')}-splits")
    base = write_splits(listing, drawn, folder, force=force)
    for line in told(drawn):
        warn(line)
    counts = ", ".join(f"{len(rows):,} {name}" for name, rows in drawn.splits.items())
    say(f"{counts} images of {len(listing.classes):,} classes listed in {folder}")
    say(f"next, in a search space: dataset: {_dataset_section(folder, base, drawn.groups)}")


def _dataset(**options: Any) -> DatasetConfig:
    """Return what the options say of a data set. Raises ConfigError for one that cannot be."""
    from pydantic import ValidationError

    from sweeper.config.dataset import DatasetConfig
    from sweeper.config.wording import rule_of
    from sweeper.errors import ConfigError, Problem

    try:
        return DatasetConfig.model_validate(options)
    except ValidationError as error:
        named = [("--" + "-".join(map(str, part["loc"])).replace("_", "-"), rule_of(part)) for part in error.errors()]
        raise ConfigError([Problem(key, "", text) for key, text in named]) from None


def _val_fraction(train: float | None, val: float | None, test: float) -> float:
    from sweeper.errors import ConfigError, Problem

    share = val if val is not None else 1 - train - test if train is not None else 0.2
    whole = (train if train is not None else 1 - share - test) + share + test
    if not (0 < share < 1 and 0 <= test < 1 and share + test < 1) or abs(whole - 1) > 1e-9:
        rule = "fractions lie between 0 and 1 and leave images for training; train, val and test make 1 together"
        shown = f"train {train}, val {val}, test {test}"
        raise ConfigError([Problem("--train-fraction, --val-fraction, --test-fraction", "", f"{rule}, got {shown}")])
    return share


def _listing(dataset: DatasetConfig, class_codes: Path | None) -> Listing:
    """Read the images and labels, names in place of codes."""
    from dataclasses import replace

    from sweeper.curation.class_codes import decoded_labels, read_class_codes
    from sweeper.data.index import read_listing
    from sweeper.data.listing import in_class_order

    listing = read_listing(dataset, this_workspace())
    if class_codes is None:
        return listing
    names = decoded_labels(listing.class_names, read_class_codes(class_codes), class_codes)
    return replace(listing, class_names=names, classes=in_class_order(set(names)))


def _dataset_section(folder: Path, base: Path, groups: Grouping | None) -> str:
    """Return what stands under `dataset:` in a search space that uses the lists."""
    images = os.path.relpath(base, folder.resolve())
    where = "" if images == "." else f", csv: {{images: {shlex.quote(images)}}}"
    column = f", group_column: {groups.column or 'group'}" if groups else ""
    return f"{{path: {shlex.quote(str(folder))}{where}{column}}}"


@app.command()
def check(
    source: Annotated[Path, typer.Argument(help="Class folders, a CSV file, or a search space with its splits.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON instead of a table.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with pictures of the copies here.")] = None,
    near_bits: Annotated[
        int, typer.Option(min=0, max=15, help="Of 63 marks of a look, so many may differ between near copies.")
    ] = 9,
    path_column: PathColumnOption = None,
    label_column: LabelColumnOption = None,
    csv_images: CsvImagesOption = ".",
    extension: ExtensionOption = "",
) -> None:
    """Find copies within and across splits and classes, unreadable files, odd sizes, imbalance, missing classes.

    Exit code 1 when something spoils training or judging: unreadable files, copies across splits, one picture
    with two labels, a class that a split lacks.
    """
    from sweeper.config.dataset import CsvConfig
    from sweeper.curation.check import check as check_source
    from sweeper.curation.page import html_page
    from sweeper.curation.source import read_source
    from sweeper.display.check import check_table, examples
    from sweeper.outputs import PAGE, Output

    output = Output(html, PAGE, "--html", (source,)) if html else None
    if output:
        output.require_free()
    csv = CsvConfig(path_column=path_column, label_column=label_column, images=csv_images, extension=extension)
    images = read_source(source, csv, this_workspace())
    with progress_bar("looking at images") as progress:
        report = check_source(images, near_bits, progress)
    if as_json:
        write_json(report.as_json())
    else:
        show(check_table(report))
        for paragraph in examples(report):
            say(paragraph)
    if output:
        output.write(html_page(report).encode(errors="backslashreplace"))
        warn(f"page with pictures: {html}")
    if report.serious:
        raise typer.Exit(1)


@app.command()
def clean(
    source: Annotated[Path, typer.Argument(help="Class folders, a CSV file, or a search space with its splits.")],
    backbone: Annotated[str, typer.Option(help="A timm architecture whose features are compared.")],
    weights: Annotated[Path | None, typer.Option(help="Its pretrained weights: safetensors or a checkpoint.")] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Take the weights from the model hub.")] = False,
    method: Annotated[
        Literal["knn", "isolation_forest", "dbscan", "out_of_fold"],
        typer.Option(help="How outliers are found; out_of_fold looks for wrong labels."),
    ] = "knn",
    share: Annotated[float, typer.Option(min=0.0001, max=1, help="Share of the images that is listed.")] = 0.05,
    val: Annotated[bool, typer.Option("--val", help="Look at the validation images too.")] = False,
    csv: Annotated[Path, typer.Option(help="The list to write.")] = Path("outliers.csv"),
    sheet: Annotated[Path, typer.Option(help="The picture of the first 200 to write.")] = Path("outliers.png"),
    force: ForceListOption = False,
    image_size: Annotated[int, typer.Option(min=8, help="Side in pixels that the backbone gets.")] = 224,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at once.")] = 64,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of the isolation forest and of the folds.")] = 0,
    path_column: PathColumnOption = None,
    label_column: LabelColumnOption = None,
    csv_images: CsvImagesOption = ".",
    extension: ExtensionOption = "",
) -> None:
    """List training images that do not look like their class, worst first, with a picture of them; deletes nothing.

    Look at them, remove from the list what belongs, and name the list as `dataset.exclude` in a search space.
    """
    from sweeper.commands.models import device_named
    from sweeper.config.dataset import CsvConfig
    from sweeper.curation.clean import find_candidates
    from sweeper.curation.features import image_features
    from sweeper.curation.source import WHOLE, dataset_of, read_source

    options = CsvConfig(path_column=path_column, label_column=label_column, images=csv_images, extension=extension)
    outputs = _candidate_outputs(csv, sheet, dataset_of(source, options), source, force=force)
    known = _known_weights(backbone, weights, pretrained)
    images = read_source(source, options, this_workspace()).of_splits(["train", WHOLE, *(["val"] if val else [])])
    files = [images.file(row) for row in range(len(images))]
    with progress_bar("features") as progress:
        found = image_features(
            files,
            backbone=backbone,
            pretrained=known,
            image_size=image_size,
            batch_size=batch_size,
            device=device_named(device),
            progress=progress,
        )
    candidates = find_candidates(images, found.rows.tolist(), found.values, method, share, seed)
    _write_candidates(outputs, images, candidates, force=force)
    if found.bad:
        warn(f"{len(found.bad):,} unreadable images left out; sweeper data check names them")
    say(f"{len(candidates):,} of {len(images):,} images listed in {csv}; the first are shown in {sheet}")
    say(f"next: look, remove from the list what belongs, then in a search space: dataset: {{exclude: {csv}}}")


def _candidate_outputs(
    csv: Path, sheet: Path, dataset: DatasetConfig, *inputs: Path, force: bool
) -> tuple[Output, Output]:
    """Return where a list of images and their pictures go.

    Raises ConfigError where one of them would replace what is not ours, or what is read.
    """
    from sweeper.curation.clean import CANDIDATES, CandidateList
    from sweeper.data.index import lists_of
    from sweeper.outputs import PICTURE, Output, require_free

    read = (*inputs, *lists_of(dataset, this_workspace()))
    outputs = Output(csv, CANDIDATES, "--csv", read), Output(sheet, PICTURE, "--sheet", read)
    require_free(outputs)
    CandidateList(csv, force).require_unedited()
    return outputs


def _write_candidates(
    outputs: tuple[Output, Output], source: Source, candidates: Sequence[Candidate], *, force: bool
) -> None:
    from sweeper.curation.clean import CandidateList, candidates_sheet

    table, sheet = outputs
    table.require_free()
    CandidateList(table.path, force).write(candidates)
    sheet.write(candidates_sheet(source, candidates[:SHEET_IMAGES]))


def _known_weights(backbone: str, weights: Path | None, pretrained: bool) -> bool | str:
    """Return what a search space has under `pretrained`. Raises ConfigError for names that stand for nothing."""
    from sweeper.errors import ConfigError, Problem
    from sweeper.modeling.registry import check_names

    if pretrained == (weights is not None):
        rule = "features need trained weights: name a file with --weights, or take the model hub's with --pretrained"
        raise ConfigError([Problem("--weights, --pretrained", "", rule)])
    known = [("--weights", str(weights))] if weights else []
    problems = check_names([("--backbone", backbone)], [], [], known)
    if problems:
        raise ConfigError([Problem(key, "", message) for key, message in problems])
    return str(weights) if weights else True


@app.command("label-errors")
def label_errors(
    study: StudyArgument = None,
    folds: Annotated[int, typer.Option(min=2, help="How often the winner is trained, each time without one part.")] = 5,
    csv: Annotated[Path, typer.Option(help="The list to write.")] = Path("label_errors.csv"),
    sheet: Annotated[Path, typer.Option(help="The picture of the first 200 to write.")] = Path("label_errors.png"),
    force: ForceListOption = False,
    device: Annotated[str, typer.Option(help="auto, as in the study, cpu, cuda, cuda:1, mps.")] = "auto",
    storage: StorageOption = None,
) -> None:
    """List likely wrong labels of a study's training images, by its winner trained on folds without them.

    Takes as long as so many trials. The test split is not touched, and nothing is deleted.
    """
    from sweeper.commands.models import device_named
    from sweeper.label_errors import find_label_errors
    from sweeper.study.model_files import require_same_model_files

    workspace = this_workspace()
    store = open_study(workspace, storage, study)
    require_same_model_files(store)
    outputs = _candidate_outputs(csv, sheet, store.sweep.dataset, force=force)
    on = device_named(store.sweep.device if device == "auto" else device)
    with progress_bar("epochs") as progress:
        found = find_label_errors(workspace, store.sweep, winner_of(store), folds=folds, device=on, progress=progress)
    _write_candidates(outputs, found.source, found.candidates, force=force)
    say(f"{len(found.candidates):,} of {found.images:,} labels are likely wrong, listed in {csv}, shown in {sheet}")
    say(f"accuracy on images that were not trained on: {found.accuracy:.4f}; the lower, the less the list is worth")
