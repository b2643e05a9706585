"""The README of an export: what the model is, how good, how to use it without sweeper."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from timm import get_pretrained_cfg

from sweeper.data.decode import FULL_DEPTH
from sweeper.export.export_config import ExportConfig, Variant, VariantTry
from sweeper.export.export_input import ACCURACY, CrossValidation
from sweeper.export.label_program import LABEL_PROGRAM
from sweeper.export.verify import Verification
from sweeper.safeguards.printable import one_line
from sweeper.safeguards.quantity import quantity
from sweeper.scores.confusion import Confusion
from sweeper.scores.metrics import scores

RULES = {
    "crop": "the middle is cut out of images that are not square",
    "squash": "images that are not square are distorted",
    "pad": "images that are not square get black borders",
}


def model_card(config: ExportConfig, verification: Verification, judged: Confusion | None = None) -> str:
    """Return the model card as Markdown; `judged` [C, C] is the confusion matrix where no validation split gave it."""
    lineage = config.lineage
    title = f"# {lineage.study}: {made_of(config)} for {len(config.classes):,} classes"
    accuracy = (
        f"{verification.weights.accuracy:.2%} of {verification.images:,} validation images are labelled correctly."
    )
    if config.cross_validation:
        accuracy = cross_validated(config.cross_validation, config.metrics[ACCURACY])
    parts = [
        title,
        f"{trials_of(config)} of the study `{lineage.study}`. {accuracy}",
        usage(),
        *weights_alone(config),
        data(config),
        *merges(config),
        metrics(config, verification),
        *calibration(config),
        *variants(config),
        per_class(config, verification.evaluation.confusion if judged is None else judged),
        limits(config),
        origin(config),
    ]
    return "\n\n".join(parts) + "\n"


def made_of(config: ExportConfig) -> str:
    """Name the network: its architecture, and what was made of several trials."""
    if config.form == "ensemble":
        return f"an ensemble of {', '.join(member.architecture for member in config.members)}"
    return f"a soup of {config.architecture}" if config.form == "soup" else config.architecture


def trials_of(config: ExportConfig) -> str:
    numbers = [str(member.trial) for member in config.members]
    return f"Trials {', '.join(numbers)}" if numbers else f"Trial {config.lineage.trial}"


def cross_validated(found: CrossValidation, accuracy: float) -> str:
    """Say how the accuracy of a cross-validated trial was measured, and how its weights were made."""
    spread = "" if found.spread is None else ", and the objective of the folds has a standard deviation of "
    spread += "" if found.spread is None else f"{found.spread:.4f}"
    length = quantity(found.epochs, "epoch")
    return (
        f"{accuracy:.2%} of its images are labelled correctly in {found.folds}-fold cross-validation: the images were "
        f"divided into {found.folds} folds, and those of each were labelled by a network trained on the others"
        f"{spread}. "
        f"The weights here are of one more network, trained in the same way on all {found.images:,} images for "
        f"{length}, as many as the others took on average to their best. No image was left to measure it "
        "by; having seen more images, it should be no worse than those."
    )


def usage() -> str:
    return (
        "## Use\n\n`python label.py IMAGE …`, with `onnxruntime`, `pillow` and `numpy` installed, prints path, class "
        "and probability of each image, with tabs between, and names what cannot be read, with exit code 1. It is:\n\n"
        f"```python\n{LABEL_PROGRAM}```\n\n"
        "`config.json` says what the network takes, and the folder `picture` prepares an image so. `model.pt2` is the "
        "same as a program for `torch.export.load`, `model.safetensors` the weights alone."
    )


def weights_alone(config: ExportConfig) -> list[str]:
    """Return how timm loads the weights; nothing of an ensemble, whose file holds several networks."""
    if config.form == "ensemble":
        return []
    own = f"Run {config.model_files[0]} first: it registers the architecture. " if config.model_files else ""
    config_of = get_pretrained_cfg(config.architecture)
    sized = f", img_size={config.image_size}" if config_of is not None and config_of.fixed_input_size else ""
    return [
        "## The network in timm\n\n"
        f"{own}The weights of the backbone begin with `backbone.`, those of the classifier on its features with "
        "`head.`; class names and preparation stand in the metadata of `model.safetensors` and of `model.onnx` too:"
        "\n\n```python\n"
        "import timm\nfrom safetensors.torch import load_file\n\n"
        'weights = load_file("model.safetensors")\n'
        f"backbone = timm.create_model({config.architecture!r}, num_classes=0{sized})\n"
        'own = {name: value for name, value in weights.items() if name.startswith("backbone.")}\n'
        'backbone.load_state_dict({name.removeprefix("backbone."): value for name, value in own.items()})\n'
        "```"
    ]


def data(config: ExportConfig) -> str:
    card = config.lineage.dataset
    counts = ", ".join(f"{count:,} {split}" for split, count in dict(card.get("images", {})).items())
    return (
        f"## Data\n\n`{card.get('name', 'unnamed')}`, {len(config.classes):,} classes; images: {counts}. "
        f"Digest `{card.get('digest', 'unknown')}`.\n\n"
        f"Images are decoded to {config.stored_size} by {config.stored_size} pixels ({RULES[config.resize]}), by "
        f"bicubic interpolation that averages what it reduces, Pillow's BICUBIC: others cost accuracy{deep(config)}. "
        f"The network takes {config.image_size} by {config.image_size}, normalised with mean {list(config.mean)} and "
        f"standard deviation {list(config.std)} of values from 0 to 1.{mirrored(config)}"
    )


def mirrored(config: ExportConfig) -> str:
    """Say that a network looks at each image twice; nothing of one that does not."""
    flips = [network.test_time_augmentation == "flip" for network in config.networks()]
    if not any(flips):
        return ""
    if not all(flips):
        return (
            f" {sum(flips)} of its {len(flips)} networks answer with the mean of their probabilities for the image and "
            "for its mirror image (test-time augmentation), which they make by themselves: these cost twice as much."
        )
    return (
        " It answers with the mean of its probabilities for the image and for its mirror image (test-time "
        "augmentation), which it makes by itself: each prediction costs twice as much."
    )


def deep(config: ExportConfig) -> str:
    """Say how images with more than 8 bits are read, where that is not by all of them."""
    if config.depth.bits == FULL_DEPTH.bits:
        return ""
    white = (1 << config.depth.bits) - 1
    return f". In images with more than 8 bits {config.depth.bits} are used, {white:,} is white"


def metrics(config: ExportConfig, verification: Verification) -> str:
    """Return the logged metrics, and how each format stands to them."""
    logged = [(name, f"{value:.4f}") for name, value in config.metrics.items() if name.startswith(("val/", "train/"))]
    weights = verification.weights
    rows = [(weights.file, f"{weights.accuracy:.4f}", f"{weights.off} (at most {weights.allowed})", "")]
    rows += [
        (check.file, f"{check.accuracy:.4f}", f"{check.changed} (at most {check.allowed})", f"{check.difference:.1e}")
        for check in verification.formats
    ]
    header = ("file", "accuracy", "images that differ", "largest relative difference of logits")
    images = compared_by(config)
    return (
        f"## Metrics\n\n{expected(config)}{logged_when(config)}:\n\n{table(('metric', 'value'), logged)}\n\n"
        f"Every file was loaded again and run over the {verification.images:,} {images}. The weights are "
        f"compared with the logged accuracy ({weights.why}), the other files with the weights:\n\n{table(header, rows)}"
    )


def expected(config: ExportConfig) -> str:
    """Return the accuracy to be expected on new images, as a paragraph; nothing where it is not known."""
    found = config.expected
    if found is None:
        return ""
    told = f"{found.accuracy:.4f} (95 % interval {found.low:.4f} to {found.high:.4f})"
    if not found.by_accuracy:
        return (
            f"**Expected accuracy on new images of the same kind: {told}, if the most accurate epoch of "
            f"{quantity(found.trials, 'trial')} is chosen.** This model was chosen by {found.chosen_by}, and may be "
            f"less accurate: its own accuracy on {judging_images(config)} is below.\n\n"
        )
    return (
        f"**Expected accuracy on new images of the same kind: {told}.** On {judging_images(config)} it is higher, "
        f"since they chose the model among the epochs of {quantity(found.trials, 'trial')}.\n\n"
    )


def merges(config: ExportConfig) -> list[str]:
    """Return the section about soups and ensembles; none where none were tried."""
    if not config.merges:
        return []
    header = ("", "trials", "out of", "accuracy", "the winner's", "won", "lost", "p", "")
    rows = [
        (
            tried.kind,
            ", ".join(map(str, tried.members)),
            ", ".join(map(str, tried.considered)),
            f"{tried.accuracy:.4f}",
            f"{tried.winner_accuracy:.4f}",
            str(tried.gained),
            str(tried.lost),
            f"{tried.p:.3g}",
            "shipped" if tried.kept else "not better by more than chance",
        )
        for tried in config.merges
    ]
    return [
        "## Soups and ensembles\n\nA soup has the mean of its trials' weights, an ensemble answers with the mean of "
        "their probabilities. Trials were chosen on every second validation image, and the result is judged on the "
        f"other {config.merges[0].judged_on:,}: images that only the soup or ensemble labels correctly, images that "
        "only the winner does, and the chance of such a result if it were no better than the winner (McNemar's exact "
        f"test).\n\n{table(header, rows)}"
    ]


def calibration(config: ExportConfig) -> list[str]:
    """Return the section about the temperature; none for an export without one."""
    found = config.calibration
    if found is None:
        return []
    if found.reason:
        text = f"The temperature is left at 1: {found.reason}. The expected calibration error is {found.ece:.4f}."
        return [f"## Calibration\n\n{text}"]
    rows = [
        ("expected calibration error", f"{found.ece:.4f}", f"{found.calibrated_ece:.4f}"),
        ("cross entropy", f"{found.loss:.4f}", f"{found.calibrated_loss:.4f}"),
    ]
    return [
        f"## Calibration\n\nLogits divided by the temperature {found.temperature:.4f} (`calibration` in `config.json`) "
        f"give the probabilities. What that changes, on each half of {judging_images(config)} with the temperature of "
        f"the other half:\n\n{table(('', 'before', 'after'), rows)}"
    ]


def variants(config: ExportConfig) -> list[str]:
    """Return the section about smaller ONNX files; none where none were asked for."""
    if not config.variants:
        return []
    header = ("file", "method", "accuracy lost", "predictions changed", "size", "one image")
    rows = [row for variant in config.variants for row in variant_rows(variant)]
    seen = " On new images more may be lost." if config.cross_validation else ""
    return [
        f"## Smaller files\n\nAccuracy is that on the {compared_by(config)} beside the weights', with the 95 % "
        f"interval of the difference.{seen} Time is that of one image on the CPU of the machine that exported.\n\n"
        f"{table(header, rows)}"
    ]


def variant_rows(variant: Variant) -> list[tuple[str, ...]]:
    """Return a row for the file, and one for every other method that was tried."""
    size = f"{variant.bytes / 1e6:.2f} MB instead of {variant.full_bytes / 1e6:.2f}"
    time = f"{variant.milliseconds:.2f} ms instead of {variant.full_milliseconds:.2f}"
    name = variant.file if variant.kept else f"{variant.file}: LEFT OUT, may lose {variant.tolerance:.2%}"
    costs = (size, time) if variant.kept else ("", "")
    others = [item for item in variant.tried if item.method != variant.method]
    return [(name, *tried_cells(variant.best), *costs), *(("", *tried_cells(item), "", "") for item in others)]


def tried_cells(item: VariantTry) -> tuple[str, str, str]:
    if item.failure:
        return (item.method, item.failure, "")
    return (item.method, f"{item.lost:.2%} ± {item.margin:.2%}", f"{item.changed:,}")


def probabilities(config: ExportConfig) -> str:
    """Say how far probabilities can be relied on."""
    found = config.calibration
    if found is None or found.reason:
        return "- The logits are not calibrated: a softmax of them is not a probability to rely on."
    return "- Probabilities are calibrated for images like those of the data set; for others they may be far too sure."


def logged_when(config: ExportConfig) -> str:
    if config.members:
        return f"Of the {config.form} as a whole, measured when it was made"
    if config.cross_validation:
        return f"Means over the {config.cross_validation.folds} folds, each after its best epoch"
    return f"As logged for {config.lineage.epoch}"


def per_class(config: ExportConfig, confusion: Confusion) -> str:
    """Return precision, recall and F1 of every class; the matrix is [C, C]."""
    found = scores(confusion)
    columns = (found.class_precision, found.class_recall, found.class_f1)
    rows = [
        (name, f"{support:,}", *(f"{value:.3f}" for value in values))
        for name, support, *values in zip(config.classes, found.class_support, *columns, strict=True)
    ]
    where = "Over all folds" if config.cross_validation else "On the validation split"
    return f"## Classes\n\n{where}:\n\n{table(('class', 'images', 'precision', 'recall', 'F1'), rows)}"


def limits(config: ExportConfig) -> str:
    return (
        "## Limits\n\n"
        f"- The trial and its epoch were chosen by {judging_images(config)}, so its figures are somewhat too good; "
        "only images that no choice rested on give honest ones.\n"
        f"- Every image gets one of the {len(config.classes):,} classes, even one that shows none of them.\n"
        f"{probabilities(config)}\n"
        "- Images unlike those of the data set above were not measured."
    )


def compared_by(config: ExportConfig) -> str:
    """Name the images by which files are compared."""
    return "images of the first fold, which the weights have seen" if config.cross_validation else "validation images"


def judging_images(config: ExportConfig) -> str:
    """Name the images by which trials were compared."""
    return "the images of the folds" if config.cross_validation else "the validation images"


MADE_OF = {"soup": "the mean over its members", "ensemble": "all of its members"}


def origin(config: ExportConfig) -> str:
    lineage = config.lineage
    libraries = ", ".join(f"{name} {version}" for name, version in config.libraries.items())
    rows = [
        ("study", lineage.study),
        ("trial", str(lineage.trial)),
        *([("made of trials", numbers_and_runs(config))] if config.members else []),
        ("MLflow run", lineage.run_id or "not recorded"),
        ("weights of", MADE_OF[config.form] if config.members else lineage.epoch),
        ("validated in training", f"in {lineage.training.precision} on {lineage.training.device}"),
        ("architecture", config.architecture),
        ("model files", ", ".join(config.model_files) or "none"),
        ("written with", libraries),
    ]
    return f"## Lineage\n\n{table(('', ''), rows)}\n\nAll hyperparameters are in `config.json`."


def numbers_and_runs(config: ExportConfig) -> str:
    return ", ".join(f"{member.trial} (run {member.run_id or 'not recorded'})" for member in config.members)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(escaped(cell) for cell in line) + " |" for line in lines)


def escaped(cell: str) -> str:
    return one_line(cell.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " "))
