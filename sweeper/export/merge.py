"""A soup or an ensemble of the leaders in place of the winner, where it is better by more than chance.

Which leaders take part is chosen on every second validation image; whether the result is better than the winner
is judged on the other half, image by image, by McNemar's exact test. The winner was chosen among all trials by
both halves, which favours it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from sweeper.config.hyperparameters import TrialConfig
from sweeper.data.batches import DeviceImages
from sweeper.export.export_input import ExportInput, MergedTrial, MergeKind, MergeTry, Training
from sweeper.export.load import load_classifier
from sweeper.export.verify import Pass, classifier_on, full_precision, passed
from sweeper.modeling.classifier import Classifier
from sweeper.modeling.ensemble import AnyClassifier, Ensemble
from sweeper.scores.ensembling import greedy_ensemble
from sweeper.scores.mcnemar import Hits, paired
from sweeper.training.soup import averaged, greedy_soup, recompute_statistics

SIGNIFICANT = 0.05
"""Largest chance that a merger of no use is taken for a better one, over all that are tried."""

STATISTICS_BATCH = 128
"""Images in a batch by which statistics are measured anew, where they are no larger than these pixels."""
STATISTICS_PIXELS = STATISTICS_BATCH * 224**2
"""In a batch; of larger images it has fewer, but no fewer than the trials had in theirs."""


@dataclass(frozen=True)
class Contender:
    """A finished trial that may take part, the winner or one of those behind it."""

    trial: int
    config: TrialConfig
    weights: Path
    run_id: str | None


@dataclass(frozen=True)
class Candidate:
    """A merger with the figures that decide on it."""

    tried: MergeTry
    network: AnyClassifier
    members: tuple[MergedTrial, ...]
    found: Pass


class Merger:
    """Merges the leaders of a study and judges the results.

    Args:
        source: The winner.
        leaders: The winner, then those behind it, best first.
        val: The split that trials were chosen by.
        train: Training images by which batch statistics are measured anew.
    """

    def __init__(
        self, source: ExportInput, leaders: Sequence[Contender], val: DeviceImages, train: DeviceImages
    ) -> None:
        self._source, self._leaders, self._val, self._train = source, leaders, val, train
        self._labels = val.labels.cpu().numpy()
        self._winner = self._pass(self._load(leaders[0]))

    def soup(self) -> Candidate:
        """Average the weights of the leaders whose networks are of the winner's shape."""
        alike = [leader for leader in self._leaders if shape(leader.config) == shape(self._source.config)]
        states = [load_file(leader.weights) for leader in alike]
        classifier = self._load(alike[0])
        passes: dict[tuple[int, ...], Pass] = {(0,): self._winner}  # with the statistics it was trained with

        def fill(members: tuple[int, ...]) -> None:
            self._fill(classifier, averaged([states[number] for number in members]))

        def accuracy(members: tuple[int, ...]) -> float:
            if members not in passes:
                fill(members)
                passes[members] = self._pass(classifier)
            return self._accuracy(passes[members])

        chosen = greedy_soup(len(alike), accuracy)
        if len(chosen) > 1:
            fill(chosen)
        return self._candidate("soup", alike, chosen, classifier, passes[chosen])

    def ensemble(self) -> Candidate:
        """Let leaders that take the winner's images, of any architecture, answer together."""
        networks = {leader: self._load(leader) for leader in self._leaders if self._same_size(leader)}
        winner = networks[self._leaders[0]]
        alike = [leader for leader, network in networks.items() if same_images(network, winner)]
        passes = [self._winner, *(self._pass(networks[leader]) for leader in alike[1:])]
        logits = [found.logits.numpy() for found in passes]
        chosen = greedy_ensemble([member[::2] for member in logits], self._labels[::2])
        network = Ensemble([networks[alike[number]] for number in chosen])
        found = self._pass(network) if len(chosen) > 1 else self._winner
        return self._candidate("ensemble", alike, chosen, network, found)

    def decide(self, candidates: Sequence[Candidate], folder: Path) -> ExportInput:
        """Return what is to be exported, the winner or what beats it, with all that was tried.

        The weights of a merger are written into a folder. Where both are better than the winner, the soup is
        taken, which costs a member's time, unless the ensemble is better than the soup by more than chance.
        """
        several = sum(len(candidate.members) > 1 for candidate in candidates)
        better = [c for c in candidates if len(c.members) > 1 and c.tried.p < SIGNIFICANT / several]
        best = better[0] if better else None
        for other in better[1:]:
            if best and paired(self._hits(best.found), self._hits(other.found)).p_better < SIGNIFICANT:
                best = other
        tried = tuple(c.tried.model_copy(update={"kept": c is best}) for c in candidates)
        source = replace(self._source, merges=tried)
        return self._source_of(best, source, folder) if best else source

    def _source_of(self, best: Candidate, source: ExportInput, folder: Path) -> ExportInput:
        weights = folder / f"{best.tried.kind}.safetensors"
        save_file({name: tensor.cpu().contiguous() for name, tensor in best.network.state_dict().items()}, weights)
        return replace(
            source,
            form=best.tried.kind,
            members=best.members,
            weights=weights,
            metrics={f"val/{name}": value for name, value in best.found.evaluation.values.items()},
            training=Training(device=self._val.device.type, precision="float32"),
        )

    def _candidate(
        self,
        kind: MergeKind,
        considered: Sequence[Contender],
        chosen: Sequence[int],
        network: AnyClassifier,
        found: Pass,
    ) -> Candidate:
        judged = paired(self._hits(self._winner), self._hits(found))
        members = [considered[number] for number in chosen]
        tried = MergeTry(
            kind=kind,
            considered=tuple(leader.trial for leader in considered),
            members=tuple(leader.trial for leader in members),
            judged_on=judged.images,
            winner_accuracy=float(self._hits(self._winner).mean()),
            accuracy=float(self._hits(found).mean()),
            gained=judged.gained,
            lost=judged.lost,
            p=judged.p_better,
        )
        return Candidate(tried, network, tuple(map(_member, members)), found)

    def _load(self, leader: Contender) -> Classifier:
        return load_classifier(leader.config, len(self._source.classes), leader.weights)

    def _fill(self, classifier: Classifier, state: dict[str, torch.Tensor]) -> None:
        classifier.load_state_dict(state)
        classifier_on(classifier, self._val.device)
        config = self._source.config
        size, fitting = config.image_size, STATISTICS_PIXELS // config.image_size**2
        count = min(STATISTICS_BATCH, max(config.batch_size, fitting))
        batches = self._train.eval_batches(count, size, classifier.mean, classifier.std)
        with full_precision():
            recompute_statistics(classifier, batches)

    def _pass(self, network: AnyClassifier) -> Pass:
        """Run the validation split through a network, in the batches in which the export will be verified."""
        config = self._source.config
        batches = self._val.eval_batches(config.batch_size, config.image_size, network.mean, network.std)
        predict, classes = classifier_on(network, self._val.device), len(self._source.classes)
        with full_precision():
            return passed(predict, batches, classes, self._val.device)

    def _accuracy(self, found: Pass) -> float:
        """Return the accuracy on the half by which members are chosen."""
        return float((found.logits.argmax(1).numpy() == self._labels)[::2].mean())

    def _hits(self, found: Pass) -> Hits:
        """Tell which images are labelled rightly, of the half by which mergers are judged."""
        return np.asarray(found.logits.argmax(1).numpy() == self._labels)[1::2]

    def _same_size(self, leader: Contender) -> bool:
        return leader.config.image_size == self._source.config.image_size


def merged(
    source: ExportInput,
    leaders: Sequence[Contender],
    kinds: Sequence[MergeKind],
    val: DeviceImages,
    train: DeviceImages,
    folder: Path,
) -> ExportInput:
    """Try to merge the leaders of a study, the winner first; return what is to be exported in its place, or itself.

    Raises ExportError when a leader's network cannot be built or its weights cannot be read.
    """
    merger = Merger(source, leaders, val, train)
    makers = {"soup": merger.soup, "ensemble": merger.ensemble}
    return merger.decide([makers[kind]() for kind in makers if kind in kinds], folder)


def shape(config: TrialConfig) -> tuple[object, ...]:
    """Return what must agree for two networks to have the same weights, learned from the same start."""
    head = (config.head.hidden, config.head.norm, config.head.activation)
    return (config.backbone, head, config.image_size, config.trainable, config.pretrained)


def same_images(network: Classifier, other: Classifier) -> bool:
    """Return whether two networks normalise images in the same way."""
    return (network.mean, network.std) == (other.mean, other.std)


def _member(leader: Contender) -> MergedTrial:
    config = leader.config
    return MergedTrial(
        trial=leader.trial,
        run_id=leader.run_id,
        architecture=config.backbone,
        head=config.head,
        test_time_augmentation=config.test_time_augmentation,
    )
