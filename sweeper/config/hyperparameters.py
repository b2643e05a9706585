"""What one trial is trained with: `TrialConfig` and its parts, as plain values.

These models are the single description of every hyperparameter. `config.space` derives from them
the searchable form in which any field may be a distribution instead of a value.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from sweeper.config.bounds import (
    Alpha,
    BatchSize,
    Beta,
    Change,
    Decay,
    Divisor,
    Epochs,
    EpochsOrNone,
    Fraction,
    ImageSide,
    LeastRate,
    Norm,
    PartOfEpochs,
    Probability,
    Rate,
    Real,
    Share,
    Temperature,
    Whole,
    Width,
)
from sweeper.config.frozen import Frozen, name_of, named
from sweeper.config.optimizer import AdamConfig, OptimizerConfig
from sweeper.config.weights import is_a_source, is_a_teacher

ClassificationMetric = Literal[
    "train/loss",
    "train/accuracy",
    "val/loss",
    "val/accuracy",
    "val/top5_accuracy",
    "val/precision",
    "val/recall",
    "val/f1",
]
ReconstructionMetric = Literal["train/loss", "train/psnr", "val/loss", "val/psnr", "val/ssim"]
Metric = Literal[ClassificationMetric, ReconstructionMetric]


class HeadConfig(Frozen):
    """The layers between the backbone's pooled features and the class scores."""

    hidden: Annotated[tuple[Width, ...], Field(max_length=32)] = Field(
        (), description="Sizes of the hidden layers; an empty list means no hidden layer."
    )
    activation: Literal["relu", "gelu", "silu", "leaky_relu", "tanh"] = Field(
        "relu", description="Activation after every hidden layer."
    )
    dropout: Rate = Field(0.0, description="Dropout before every linear layer of the head.")
    norm: Literal["none", "batch", "layer"] = Field("none", description="Normalisation after every hidden layer.")


class SchedulerBase(Frozen):
    warmup_epochs: PartOfEpochs = Field(0.0, description="Epochs of linear warm-up from 0 to the learning rate.")


class ReduceOnPlateauConfig(SchedulerBase):
    """Multiply the learning rate by `factor` when `metric` has not improved for `patience` epochs."""

    name: Literal["reduce_on_plateau"]
    metric: Metric = Field("val/loss", description="What must improve in each epoch.")
    factor: Share = Field(0.1, description="The learning rate is multiplied by this.")
    patience: EpochsOrNone = Field(5, description="Epochs without improvement that are tolerated.")
    threshold: Change = Field(1e-4, description="Relative change that counts as an improvement.")
    cooldown: EpochsOrNone = Field(0, description="Epochs to wait after a reduction before counting again.")
    min_lr: LeastRate = Field(0.0, description="It does not fall below this.")


class StepConfig(SchedulerBase):
    """Multiply the learning rate by `factor` every `every` epochs."""

    name: Literal["step"]
    every: Epochs = Field(10, description="Epochs between two reductions.")
    factor: Fraction = Field(0.1, description="The learning rate is multiplied by this.")


class ExponentialConfig(SchedulerBase):
    """Multiply the learning rate by `factor` after every epoch."""

    name: Literal["exponential"]
    factor: Fraction = Field(0.95, description="The learning rate is multiplied by this.")


class CosineConfig(SchedulerBase):
    """Half a cosine from the learning rate down to `min_lr` over the whole trial, by step."""

    name: Literal["cosine"]
    min_lr: LeastRate = Field(0.0, description="The learning rate that would be reached after the last step.")


class OneCycleConfig(SchedulerBase):
    """Rise to the learning rate, then fall far below it, by step (Smith and Topin, arXiv 1708.07120)."""

    name: Literal["one_cycle"]
    rise: Annotated[Real, Field(gt=0, lt=1)] = Field(0.3, description="Fraction of the trial in which the rate rises.")
    initial_divisor: Divisor = Field(25.0, description="The first rate is lr divided by this.")
    final_divisor: Divisor = Field(1e4, description="The last rate is the first divided by this.")


class ConstantConfig(SchedulerBase):
    """The learning rate stays as it is."""

    name: Literal["constant"]


SchedulerConfig = Annotated[
    ReduceOnPlateauConfig | StepConfig | ExponentialConfig | CosineConfig | OneCycleConfig | ConstantConfig,
    Discriminator("name"),
    BeforeValidator(named),
]


class NoPolicyConfig(Frozen):
    """No random operation."""

    name: Literal["none"]


class TrivialAugmentConfig(Frozen):
    """One operation of fourteen for each image, at a strength drawn anew (Müller and Hutter, arXiv 2103.10158)."""

    name: Literal["trivial_augment"]


class RandAugmentConfig(Frozen):
    """Several operations of fourteen for each image, all at one strength (Cubuk et al., arXiv 1909.13719)."""

    name: Literal["rand_augment"]
    operations: Annotated[Whole, Field(ge=1, le=8)] = Field(2, description="How many, one after the other.")
    magnitude: Annotated[Whole, Field(ge=0, le=30)] = Field(9, description="The strength, of 30 at most.")


PolicyConfig = Annotated[
    NoPolicyConfig | TrivialAugmentConfig | RandAugmentConfig, Discriminator("name"), BeforeValidator(named)
]


class AugmentConfig(Frozen):
    """Random changes to training images, drawn anew for every sample. Everything is off by default."""

    crop_padding: Annotated[Whole, Field(ge=0, le=4096)] = Field(
        0, description="Pixels of reflected border from which a random crop is cut."
    )
    random_resized_crop: Fraction | None = Field(
        None, description="Smallest share of the area that a random crop, resized to full size, keeps."
    )
    flip: bool = Field(False, description="Mirror half of the images left to right.")
    vertical_flip: bool = Field(False, description="Mirror half of the images top to bottom.")
    policy: PolicyConfig = Field(
        NoPolicyConfig(name="none"),
        description="Random operations: shears, shifts, rotations, and changes of brightness, contrast, colour and "
        "sharpness.",
    )
    rotation: Annotated[Real, Field(ge=0, le=180)] = Field(0.0, description="Rotate by up to this many degrees.")
    color_jitter: Probability = Field(0.0, description="Strength of random brightness, contrast and saturation.")
    blur: Probability = Field(
        0.0, description="Probability of a Gaussian blur, its deviation from 0.1 to 2 pixels (arXiv 2002.05709)."
    )
    erasing: Probability = Field(0.0, description="Probability of blanking a random rectangle of an image.")
    mixup: Alpha = Field(0.0, description="Alpha of mixup (arXiv 1710.09412); 0 switches it off.")
    cutmix: Alpha = Field(0.0, description="Alpha of CutMix (arXiv 1905.04899); 0 switches it off.")


class NoWeightsConfig(Frozen):
    """Every image counts the same."""

    name: Literal["none"]


class InverseConfig(Frozen):
    """Every class counts the same, sampling and loss together."""

    name: Literal["inverse"]


class EffectiveNumberConfig(Frozen):
    """A class of n images counts n / E with E = (1 - beta^n) / (1 - beta) (Cui et al., arXiv 1901.05555)."""

    name: Literal["effective_number"]
    beta: Beta = Field(0.999, description="0 changes nothing; towards 1 every class counts the same.")


class CrossEntropyConfig(Frozen):
    """The usual loss."""

    name: Literal["cross_entropy"]


class FocalConfig(Frozen):
    """Cross-entropy times (1 - p)^gamma: images that are predicted well count less (Lin et al., arXiv 1708.02002)."""

    name: Literal["focal"]
    gamma: Alpha = Field(2.0, description="0 is cross-entropy.")


WeightsConfig = Annotated[
    NoWeightsConfig | InverseConfig | EffectiveNumberConfig, Discriminator("name"), BeforeValidator(named)
]
LossConfig = Annotated[CrossEntropyConfig | FocalConfig, Discriminator("name"), BeforeValidator(named)]


class ClassBalanceConfig(Frozen):
    """What is done about classes of few images; only in training, since all trials are validated in the same way."""

    sampling: Probability = Field(
        0.0,
        description="How far classes are drawn alike: a class of n images gets a part of n^(1 - sampling) of every "
        "epoch. 0 takes each image once, 0.5 is square-root sampling, 1 takes every class as often.",
    )
    weights: WeightsConfig = Field(
        NoWeightsConfig(name="none"),
        description="Weights of the classes in the loss; they correct what `sampling` leaves.",
    )
    loss: LossConfig = Field(CrossEntropyConfig(name="cross_entropy"), description="The loss that training minimizes.")


class UnfreezingConfig(Frozen):
    """Which parts of the network begin to learn later. What does not learn yet costs no backward pass."""

    head_epochs: EpochsOrNone = Field(
        0, description="Epochs at the start in which the head alone learns (LP-FT, arXiv 2202.10054)."
    )
    stage_epochs: EpochsOrNone = Field(
        0,
        description="Then the stages of the backbone begin one after another, the last one first, each this many "
        "epochs after the one before (gradual unfreezing, arXiv 1801.06146); 0 for all at once.",
    )


class NoTeacherConfig(Frozen):
    """The labels alone."""

    name: Literal["none"]


class DistillationConfig(Frozen):
    """A trained classifier whose probabilities count beside the labels (Hinton et al., arXiv 1503.02531)."""

    name: Annotated[str, AfterValidator(is_a_teacher)] = Field(
        description="study:NAME/best or study:NAME/NUMBER: a trial of another study; study:NAME/ensemble: several of "
        "that study's five best trials, chosen because they answer best together; their probabilities are averaged; a "
        "path: the folder of an export. The teacher must know the same classes in the same order."
    )
    temperature: Temperature = Field(
        2.0, description="What the scores of both are divided by: higher ones show more of the less likely classes."
    )
    weight: Fraction = Field(0.5, description="Part of the loss that the teacher has; the labels have the rest.")


def teacher_kind(value: Any) -> str:
    return "none" if name_of(value) == "none" else "teacher"


TeacherConfig = Annotated[
    Annotated[NoTeacherConfig, Tag("none")] | Annotated[DistillationConfig, Tag("teacher")],
    Discriminator(teacher_kind),
    BeforeValidator(named),
]


TestTimeAugmentation = Literal["none", "flip"]
MOST_AVERAGED = 16
"""Epochs; the weights of all of them are in memory at once when they are averaged."""


class TrialConfig(Frozen):
    """All hyperparameters of one trial."""

    backbone: str = Field(min_length=1, description="A timm architecture or one registered by a file of `model_files`.")
    pretrained: Annotated[bool | str, AfterValidator(is_a_source)] = Field(
        False,
        description="true: weights from the model hub; a path: a safetensors or torch checkpoint; study:NAME/best or "
        "study:NAME/NUMBER: the backbone of another study's trial; false: none.",
    )
    trainable: Literal["all", "last_stage", "head"] = Field("all", description="What the optimizer may change.")
    unfreezing: UnfreezingConfig = UnfreezingConfig()
    drop_rate: Rate = Field(0.0, description="Dropout rate handed to the backbone.")
    drop_path_rate: Rate = Field(
        0.0,
        description="Stochastic depth: how often a block of the backbone is left out for a training image, from 0 for "
        "the first block to this for the last one (arXiv 1603.09382). 0.1 to 0.3 are usual. Refused where the "
        "architecture has no such blocks.",
    )
    head: HeadConfig = HeadConfig()
    optimizer: OptimizerConfig = Field(AdamConfig(name="adamw"), description="How weights learn from gradients.")
    weight_decay: Decay = Field(0.0, description="Strength of the pull of weights towards 0.")
    decay_norm_and_bias: bool = Field(False, description="Apply weight decay to normalisation layers and biases too.")
    layer_decay: Fraction = Field(
        1.0,
        description="Each layer of the backbone learns at this times the rate of the layer after it, the head at the "
        "full rate; 1 for all alike, 0.65 to 0.9 are usual for fine-tuning (arXiv 2003.10555).",
    )
    batch_size: BatchSize = Field(
        128,
        description="Images in one optimizer step. The last batch of an epoch takes the images left over; if these are "
        "fewer than half a batch, the last two batches share what they have equally.",
    )
    image_size: ImageSide = Field(64, description="Side of the square training images, in pixels.")
    progressive_resizing: Fraction = Field(
        1.0,
        description="Side of the first training images as a part of image_size: it grows to the whole in the first two "
        "thirds of the epochs, which makes these cheaper. 1 for whole images always; 0.5 is usual. Images are "
        "validated whole (EfficientNetV2, arXiv 2104.00298).",
    )
    test_time_augmentation: TestTimeAugmentation = Field(
        "none",
        description="flip: the model answers with the mean of its probabilities for an image and for its mirror image, "
        "when it is validated and in its export. This doubles the cost of a prediction.",
    )
    label_smoothing: Rate = Field(0.0, description="Part of the label given to all classes alike.")
    teacher: TeacherConfig = Field(
        NoTeacherConfig(name="none"),
        description="A trained classifier to learn from: study:NAME/best, study:NAME/ensemble, or the folder of an "
        "export. It sees the same augmented images (arXiv 2106.05237), which costs its forward pass in each step; a "
        "head on a frozen backbone then trains on images, not on stored features, and so does a last stage.",
    )
    class_balance: ClassBalanceConfig = ClassBalanceConfig()
    augment: AugmentConfig = AugmentConfig()
    gradient_clip: Norm | None = Field(None, description="Largest allowed norm of all gradients together.")
    ema: Annotated[Real, Field(ge=0, lt=1)] = Field(
        0.0,
        description="Decay of an exponential moving average of the weights, taken after every step: by it the trial is "
        "judged, and it is what is kept and exported. 0 for none. At the start it forgets sooner: after t steps "
        "it is at most 1 - (1 + t)^(-2/3), which is 0.95 after 90 steps, 0.99 after 1,000 and 0.998 after 11,000; in a "
        "short training all larger values are the same. Such trials do not train together (`features.fuse`).",
    )
    epoch_soup: Annotated[Whole, Field(ge=1, le=MOST_AVERAGED)] = Field(
        1,
        description="How many of a trial's best epochs are tried for an average of their weights when the trial is "
        "complete. The average begins with the best epoch; the others follow, best first, and each is added unless it "
        "makes the objective worse (greedy soup, arXiv 2203.05482). The trial is then judged by this average, which is "
        "kept and exported. 1 for none; 3 is usual, as in "
        "AutoGluon. A trial that is pruned, or that a deadline ends early, keeps its best epoch instead. "
        "While the trial runs, the weights of these epochs take disk space. Such trials do not train "
        "together (`features.fuse`).",
    )
    scheduler: SchedulerConfig = Field(
        ReduceOnPlateauConfig(name="reduce_on_plateau"), description="How the learning rate changes during a trial."
    )


def largest_ema(steps: int) -> float:
    """Return the decay of `ema` that its warm-up allows after so many steps, by timm's default power."""
    return float(1 - (1 + steps) ** (-2 / 3))
