"""Which images do not belong to their class, by the features of a frozen backbone.

A higher score is more of an outlier. Scores of all classes are on one scale, so that one list can rank them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

from sweeper.curation.features import Features

Scores = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Method = Literal["knn", "isolation_forest", "dbscan", "out_of_fold"]

NEIGHBOURS = 10
DIMENSIONS = 128
FITTED_ON = 20_000  # images that the projection is fitted on
TREES = 200
CORE_SHARE = 0.8
"""Share of a class whose neighbourhoods are dense enough, by DBSCAN's radius, to be its core."""

FOLDS = 5
HEAD_STRENGTH = 30.0
"""Inverse weight decay of the linear head, summed over the images: weak enough not to learn wrong labels by heart."""

MAJORITY = 0.5
"""Share of an image's neighbours that a label needs to be suggested."""


def compact(features: Features, seed: int = 0) -> Features:
    """Bring features [N, D] to length 1 and to the 128 directions in which they differ most."""
    from sklearn.decomposition import PCA

    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    dimensions = min(DIMENSIONS, *unit.shape)
    some = np.random.default_rng(seed).permutation(len(unit))[:FITTED_ON]
    fitted = PCA(min(dimensions, len(some)), random_state=seed).fit(unit[some])
    return np.asarray(fitted.transform(unit), dtype=np.float32)


def outlier_scores(features: Features, labels: Labels, method: Method, seed: int = 0) -> Scores:
    """Score every image of [N, D] features within its class, [N].

    `knn`: a * sqrt(a / b), a the mean distance to the 10 nearest of its own class, b to those of the nearest other
    class: a alone finds foreign images, a / b wrong labels.
    `isolation_forest`: how few random cuts single it out of its class.
    `dbscan`: distance to the nearest core image, in units of the radius by which 80 % of its class are core.
    `out_of_fold`: 1 - the probability of its class, by a linear head that was fitted on four fifths of the images
    without it: likely wrong labels, as in confident learning (arXiv 1911.00068).
    An image that is alone in its class has the median of all.
    """
    if method == "knn":
        scores = _neighbours(features, labels)
    elif method == "out_of_fold":
        scores = _out_of_fold(features, labels, seed)
    else:
        within: Callable[[Features], Scores] = _dbscan if method == "dbscan" else lambda own: _forest(own, seed)
        scores = np.full(len(labels), np.nan)
        for label in np.unique(labels).tolist():
            own = np.flatnonzero(labels == label)
            if len(own) > 1:
                scores[own] = within(features[own])
    return np.where(np.isnan(scores), np.nanmedian(scores), scores)


def _neighbours(features: Features, labels: Labels) -> Scores:
    own, other = np.full(len(labels), np.nan), np.full(len(labels), np.inf)
    for label in np.unique(labels).tolist():
        inside = labels == label
        members = features[inside]
        if len(members) > 1:
            own[inside] = _mean_distance(members, None)
        other[~inside] = np.minimum(other[~inside], _mean_distance(members, features[~inside]))
    nearer = np.where(np.isinf(other), own, np.maximum(other, np.finfo(np.float32).tiny))  # a single class has no other
    return np.asarray(own * np.sqrt(own / np.maximum(nearer, np.finfo(np.float32).tiny)))


def _mean_distance(members: Features, queries: Features | None) -> Scores:
    """Return the mean distance of queries to their nearest members; of the members to each other without queries."""
    from sklearn.neighbors import NearestNeighbors

    if queries is not None and not len(queries):
        return np.empty(0)
    most = len(members) - (queries is None)
    distances, _ = NearestNeighbors(n_neighbors=min(NEIGHBOURS, most)).fit(members).kneighbors(queries)
    return np.asarray(distances.mean(axis=1), dtype=np.float64)


def _forest(own: Features, seed: int) -> Scores:
    from sklearn.ensemble import IsolationForest

    return np.asarray(-IsolationForest(n_estimators=TREES, random_state=seed).fit(own).score_samples(own))


def _dbscan(own: Features) -> Scores:
    from sklearn.cluster import DBSCAN
    from sklearn.neighbors import NearestNeighbors

    least = min(NEIGHBOURS // 2, len(own))
    distances, _ = NearestNeighbors(n_neighbors=least).fit(own).kneighbors(own)
    radius = max(float(np.quantile(distances[:, -1], CORE_SHARE)), float(np.finfo(np.float32).eps))
    core = DBSCAN(eps=radius * (1 + 1e-6), min_samples=least).fit(own).core_sample_indices_
    nearest, _ = NearestNeighbors(n_neighbors=1).fit(own[core]).kneighbors(own)
    return np.asarray(nearest[:, 0] / radius, dtype=np.float64)


def _out_of_fold(features: Features, labels: Labels, seed: int) -> Scores:
    from sklearn.linear_model import LogisticRegression

    scores = np.full(len(labels), np.nan)
    scaled = features / max(float(features.std()), float(np.finfo(np.float32).tiny))
    folds = _folds(labels, np.random.default_rng(seed))
    for fold in range(FOLDS):
        inside, outside = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        known = np.unique(labels[outside])
        judged = inside[np.isin(labels[inside], known)]
        if len(known) < 2 or not judged.size:
            continue
        head = LogisticRegression(C=HEAD_STRENGTH / len(outside), max_iter=300).fit(scaled[outside], labels[outside])
        column = np.searchsorted(head.classes_, labels[judged])
        scores[judged] = 1 - head.predict_proba(scaled[judged])[np.arange(len(judged)), column]
    return scores if np.isfinite(scores).any() else np.zeros(len(labels))


def _folds(labels: Labels, random: np.random.Generator) -> Labels:
    """Deal the images of every class out over the folds, in random order."""
    order = random.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    folds = np.empty(len(labels), dtype=np.int64)
    folds[order] = np.arange(len(labels)) % FOLDS
    return folds


def suggested_labels(features: Features, labels: Labels, rows: Labels) -> Labels:
    """Return for some rows the label of most of their neighbours in all classes; -1 where it is their own, or none.

    Foreign images mostly get none.
    """
    from sklearn.neighbors import NearestNeighbors

    count = min(NEIGHBOURS + 1, len(labels))
    _, nearest = NearestNeighbors(n_neighbors=count).fit(features).kneighbors(features[rows])
    suggested = np.full(len(rows), -1, dtype=np.int64)
    for place, (row, neighbours) in enumerate(zip(rows.tolist(), nearest, strict=True)):
        found, votes = np.unique(labels[neighbours[neighbours != row][:NEIGHBOURS]], return_counts=True)
        if found.size and votes.max() > MAJORITY * votes.sum() and found[votes.argmax()] != labels[row]:
            suggested[place] = found[votes.argmax()]
    return suggested
