"""The one refusal of images that are not those of the training: their results could not be compared."""

from __future__ import annotations

from sweeper.errors import StudyChanged


def require_same_images(
    dataset: str, began: str, *, now: str, then: str, otherwise: str = "give the study another name"
) -> None:
    """Refuse images whose digest is `now` where it was `then`; an empty one is not known and never refused.

    Args:
        dataset: The name of the images.
        began: What was trained on them, such as "the study digits".
        now: The digest of the images that are there.
        then: The digest that was recorded when it began.
        otherwise: What the user can do if the old images are not to come back.

    Raises:
        StudyChanged: the digests differ.
    """
    if then and now != then:
        raise StudyChanged(
            f"the images of {dataset} have changed since {began} began (digest {now}, then {then}), and results on "
            f"other images cannot be compared; bring the old images back, or {otherwise}"
        )
