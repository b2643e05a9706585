"""Where the images and labels come from: the `dataset` section."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from sweeper.config.bounds import Images, ImageSide, Real, Seed, Share, Whole
from sweeper.config.frozen import Frozen

Layout = Literal["folder", "tiny-imagenet", "csv"]


def is_an_expression(value: str) -> str:
    try:
        found = re.compile(value)
    except re.error as error:
        raise ValueError(f"should be a regular expression, and {error}, got {value!r}") from None
    if found.groups > 1:
        raise ValueError(f"has {found.groups} groups in brackets, and one or none names the group; use (?:…)")
    return value


class CsvConfig(Frozen):
    """How a CSV data set is laid out. Columns that are not named are recognised by common names, in any case."""

    path_column: str | None = Field(None, description="Column with the image's path or name.")
    label_column: str | None = Field(None, description="Column with the class.")
    split_column: str | Literal[False] | None = Field(
        None, description="Column with train, val or test, where one file holds all splits; false: no such column."
    )
    images: str = Field(".", description="Folder of the images, relative to the CSV file.")
    extension: str = Field("", description="Appended to every name, such as .jpg, where names come without.")


class LimitConfig(Frozen):
    """Use a part of the data, drawn by the split seed; for trying things out."""

    classes: Annotated[Whole, Field(ge=2, le=1_000_000)] | None = Field(
        None, description="Number of classes that are used: the first ones."
    )
    train_images: Images | None = Field(None, description="Number of training images, the same share of each class.")
    val_images: Images | None = Field(None, description="Largest number of validation images, in the same way.")
    test_images: Images | None = Field(None, description="Largest number of test images, in the same way.")


class DatasetConfig(Frozen):
    """Where the images and labels come from."""

    path: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="A folder, a CSV file, or an address such as s3://bucket/photos.tar."
    )
    builtin: Literal["digits"] | None = Field(None, description="An embedded data set, in place of a path.")
    layout: Literal["auto", Layout] = Field(
        "auto", description="How images and labels lie there; auto: detected, and reported at the start."
    )
    csv: CsvConfig = CsvConfig()
    val_fraction: Share = Field(
        0.2,
        description="Share that becomes the validation split where the data has none; copies stay together.",
    )
    test_fraction: Annotated[Real, Field(ge=0, lt=1)] = Field(
        0.0, description="Share that becomes the test split, where the images come as one tree."
    )
    split_seed: Seed = Field(0, description="Seed of the splits, and of the images that `limit` keeps.")
    folds: Annotated[Whole, Field(ge=2, le=100)] | None = Field(
        None,
        description="Cross-validation: all images but the test split are divided into this number of folds. Each trial "
        "is trained once for each fold, without it, and validated on it; its value is the mean (docs/data.md). "
        "`val_fraction` then has no effect.",
    )
    group_column: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="Column of a CSV data set, such as patient_id: images with one value stay in one split or fold.",
    )
    group_from: Annotated[str, Field(min_length=1), AfterValidator(is_an_expression)] | None = Field(
        None,
        description="Like `group_column`, but the group comes from each image's path, relative to the data set. A "
        "regular expression: the group is what its brackets match; without brackets, the whole match. "
        "`/(p\\d+)_` groups a/p7_1.png and a/p7_2.png.",
    )
    on_leak: Literal["warn", "error", "drop"] = Field(
        "warn",
        description="What is done about copies of an image, or images of a group, in several given splits: report "
        "them, refuse to start, or leave them out of train, and out of val where they are in test.",
    )
    labels: Literal["as_written", "normalize"] = Field(
        "as_written",
        description="normalize: classes that differ in case, blanks, invisible characters, Unicode forms, or as 1, 1.0 "
        "and 01 do, are one.",
    )
    missing_labels: Literal["error", "skip", "keep"] = Field(
        "error",
        description="What happens to a row of a CSV data set whose label is nan, None, NA or similar: it is refused, "
        "left out, or taken as a class of that name. An empty label is never a class.",
    )
    exclude: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="A CSV or text file of images that are not trained on, as `sweeper data clean` writes it."
    )
    exclude_from: tuple[Literal["train", "val"], ...] = Field(
        ("train",), description="Splits that lose the excluded images; the test split never does."
    )
    limit: LimitConfig = LimitConfig()
    resize: Literal["crop", "squash", "pad"] = Field(
        "crop", description="How other shapes become square: cut the middle, distort, or add black borders."
    )
    stored_size: ImageSide | None = Field(
        None, description="Side of the decoded images in the cache; without it the image_size of each trial."
    )
    bits: Annotated[Whole, Field(ge=8, le=16)] | None = Field(
        None,
        description="How many bits are really used in images with more than 8 bits, such as 12: the largest value of "
        "that many bits is white. If this is not set, a file's own tag gives the number; without a tag, the largest "
        "value in the data set does.",
    )
    on_bad_image: Literal["error", "skip"] = Field(
        "error", description="What is done about an image that cannot be read: refuse to start, or leave it out."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) == (self.builtin is None):
            raise ValueError("name exactly one source: path (a folder or a CSV file) or builtin (digits)")
        return self

    @model_validator(mode="after")
    def _layout_of_a_path(self) -> Self:
        if self.builtin and self.layout != "auto":
            raise ValueError(f"layout: {self.layout} describes a path, and builtin: {self.builtin} has none; remove it")
        return self

    @model_validator(mode="after")
    def _one_grouping(self) -> Self:
        if self.group_column and self.group_from:
            raise ValueError("group_column and group_from both say what belongs together; keep one of them")
        return self

    @model_validator(mode="after")
    def _folds_have_one_limit(self) -> Self:
        if self.folds and self.limit.val_images is not None:
            raise ValueError(
                f"limit.val_images limits a validation split, and folds: {self.folds} leave none; limit.train_images "
                "is the number of images in all folds"
            )
        return self

    @model_validator(mode="after")
    def _images_left_for_training(self) -> Self:
        if self.val_fraction + self.test_fraction >= 1:
            taken = f"val_fraction {self.val_fraction:g} and test_fraction {self.test_fraction:g}"
            raise ValueError(f"{taken} leave no images for training; their sum should be below 1")
        return self
