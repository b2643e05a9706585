"""The README of an export: what the model is, how good, how to use it without sweeper."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sweeper.inference.export_config import ExportConfig
from sweeper.inference.snippet import snippet
from sweeper.inference.verify import Verification
from sweeper.metrics import scores

RULES = {
    "crop": "the middle is cut out of images that are not square",
    "squash": "images that are not square are distorted",
    "pad": "images that are not square get black borders",
}


def model_card(config: ExportConfig, verification: Verification) -> str:
    """Return the model card as Markdown."""
    lineage = config.lineage
    title = f"# {lineage.study}: {config.architecture} for {len(config.classes):,} classes"
    accuracy = f"{verification.weights.accuracy:.2%} of {verification.images:,} validation images are labelled rightly."
    parts = [
        title,
        f"Trial {lineage.trial} of the study `{lineage.study}`. {accuracy}",
        usage(config),
        data(config),
        metrics(config, verification),
        per_class(config, verification),
        limits(config),
        origin(config),
    ]
    return "\n\n".join(parts) + "\n"


def usage(config: ExportConfig) -> str:
    return (
        "## Use\n\nIn this folder, with `onnxruntime`, `pillow` and `numpy` installed, as "
        f"`python label.py IMAGE`:\n\n```python\n{snippet(config)}\n```\n\n"
        "`config.json` says what the network takes. `model.pt2` is the same as a program for `torch.export.load`, "
        "`model.safetensors` the weights alone."
    )


def data(config: ExportConfig) -> str:
    card = config.lineage.dataset
    counts = ", ".join(f"{count:,} {split}" for split, count in dict(card.get("images", {})).items())
    return (
        f"## Data\n\n`{card.get('name', 'unnamed')}`, {len(config.classes):,} classes; images: {counts}. "
        f"Digest `{card.get('digest', 'unknown')}`.\n\n"
        f"Images are decoded to {config.stored_size} by {config.stored_size} pixels ({RULES[config.resize]}); "
        f"the network takes {config.image_size} by {config.image_size}, normalised with mean {list(config.mean)} and "
        f"standard deviation {list(config.std)} of values from 0 to 1."
    )


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
    return (
        f"## Metrics\n\nAs logged for epoch {config.lineage.best_epoch}:\n\n{table(('metric', 'value'), logged)}\n\n"
        f"Every file was loaded again and run over the {verification.images:,} validation images. The weights are "
        f"compared with the logged accuracy ({weights.why}), the other files with the weights:\n\n{table(header, rows)}"
    )


def per_class(config: ExportConfig, verification: Verification) -> str:
    """Return precision, recall and F1 of every class."""
    found = scores(verification.evaluation.confusion)
    columns = (found.class_precision, found.class_recall, found.class_f1)
    rows = [
        (name, f"{support:,}", *(f"{value:.3f}" for value in values))
        for name, support, *values in zip(config.classes, found.class_support, *columns, strict=True)
    ]
    return f"## Classes\n\nOn the validation split:\n\n{table(('class', 'images', 'precision', 'recall', 'F1'), rows)}"


def limits(config: ExportConfig) -> str:
    return (
        "## Limits\n\n"
        "- The trial and its epoch were chosen by the validation split, so its figures are somewhat too good; "
        "only images that no choice rested on give honest ones.\n"
        f"- Every image gets one of the {len(config.classes):,} classes, even one that shows none of them.\n"
        "- The logits are not calibrated: a softmax of them is not a probability to rely on.\n"
        "- Images unlike those of the data set above were not measured.\n"
        "- The program above does not read 16-bit grey images as the training did, which scales them to 8 bits."
    )


def origin(config: ExportConfig) -> str:
    lineage = config.lineage
    libraries = ", ".join(f"{name} {version}" for name, version in config.libraries.items())
    rows = [
        ("study", lineage.study),
        ("trial", str(lineage.trial)),
        ("MLflow run", lineage.run_id or "not recorded"),
        ("epoch", str(lineage.best_epoch)),
        ("validated in training", f"in {lineage.training.precision} on {lineage.training.device}"),
        ("architecture", config.architecture),
        ("model files", ", ".join(config.model_files) or "none"),
        ("written with", libraries),
    ]
    return f"## Lineage\n\n{table(('', ''), rows)}\n\nAll hyperparameters stand in `config.json`."


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(escaped(cell) for cell in line) + " |" for line in lines)


def escaped(cell: str) -> str:
    return cell.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
