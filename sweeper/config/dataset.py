"""Where the images and labels come from: the `dataset` section."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from sweeper.config.hyperparameters import Frozen, ImageSide


class CsvConfig(Frozen):
    """How a CSV data set is laid out. Columns that are not named are recognised by common names."""

    path_column: str | None = Field(None, description="Column with the image's path or name.")
    label_column: str | None = Field(None, description="Column with the class.")
    split_column: str | None = Field(None, description="Column with train, val or test, where one file holds all.")
    images: str = Field(".", description="Folder of the images, relative to the CSV file.")
    extension: str = Field("", description="Appended to every name, such as .jpg, where names come without.")


class LimitConfig(Frozen):
    """Use a part of the data, drawn by the split seed; for trying things out."""

    classes: Annotated[int, Field(ge=2)] | None = Field(None, description="The first so many classes.")
    train_images: PositiveInt | None = Field(None, description="So many training images, the same share of each class.")
    val_images: PositiveInt | None = Field(None, description="So many validation images, likewise.")
    test_images: PositiveInt | None = Field(None, description="So many test images, likewise.")


class DatasetConfig(Frozen):
    """Where the images and labels come from."""

    path: Annotated[str, Field(min_length=1)] | None = Field(None, description="A folder, or a CSV file.")
    builtin: Literal["digits"] | None = Field(None, description="An embedded data set, in place of a path.")
    layout: Literal["auto", "folder", "tiny-imagenet", "csv"] = "auto"
    csv: CsvConfig = CsvConfig()
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.2, description="Share of the training images that becomes the validation split where there is none."
    )
    test_fraction: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="Share that becomes the test split, where the images come as one tree."
    )
    split_seed: NonNegativeInt = 0
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
    on_bad_image: Literal["error", "skip"] = Field("error", description="What an unreadable image does.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) == (self.builtin is None):
            raise ValueError("name exactly one source: path (a folder or a CSV file) or builtin (digits)")
        return self
