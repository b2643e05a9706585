"""The network of a trial that reconstructs: a backbone whose features its own decoder turns back into images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sweeper.config.hyperparameters import TrialConfig
from sweeper.errors import ModelError
from sweeper.modeling.backbones import Backbone, Channels, backbone_of


class Autoencoder(nn.Module):
    """Puts images [B, 3, H, W], normalised with `mean` and `std`, through the latent of a backbone with a decoder.

    Args:
        backbone: Images to features [B, D]; its `decode` gives normalised images for features.
        mean, std: Of every channel, on the scale 0 to 1; the caller normalises.
    """

    def __init__(self, backbone: nn.Module, mean: Channels, std: Channels):
        super().__init__()
        self.backbone = backbone
        self.mean = mean
        self.std = std
        for name, values in (("_mean", mean), ("_std", std)):  # on the network's device, and in no file of weights
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return each image and what became of it on the scale 0 to 1, [B, 2, 3, H, W]; the second may leave it."""
        restored = self.decode(self.backbone(images)).to(images.dtype)
        return self.to_unit(torch.stack([images, restored], dim=1))

    def decode(self, features: Tensor) -> Tensor:
        """Return normalised images [B, 3, H, W] for features [B, D]."""
        images: Tensor = self.backbone.decode(features)  # type: ignore[operator]
        return images

    def to_unit(self, images: Tensor) -> Tensor:
        """Undo the normalisation of images [..., 3, H, W]."""
        mean, std = self.get_buffer("_mean"), self.get_buffer("_std")
        return images * std.to(images.dtype) + mean.to(images.dtype)


def build_autoencoder(
    config: TrialConfig, *, load_weights: bool = True, backbone: Backbone | None = None
) -> Autoencoder:
    """Build a trial's network on the CPU.

    New weights are drawn from torch's global random numbers, so the caller seeds.

    Args:
        config: Of the trial.
        load_weights: False leaves pretrained weights out, where others are loaded right after.
        backbone: One with a decoder that is built already.

    Raises:
        ModelError: the backbone has no decoder, or does not give back images of this size.
    """
    if backbone is None:
        backbone = backbone_of(config, load_weights=load_weights, decoder=True)
    network = Autoencoder(backbone.module, backbone.mean, backbone.std)
    _require_same_shape(network, backbone, config)
    return network


@torch.no_grad()
def _require_same_shape(network: Autoencoder, backbone: Backbone, config: TrialConfig) -> None:
    wanted = (1, len(backbone.mean), config.image_size, config.image_size)
    learns = network.training
    network.eval()  # where one image is enough for batch normalisation, and leaves no trace in its statistics
    try:
        shape = tuple(network.decode(torch.zeros(1, backbone.features)).shape)
    except Exception as error:  # any architecture's code may raise anything; it must fail this trial only
        raise ModelError(f"the decoder of {config.backbone} fails: {error}; correct its model file") from error
    finally:
        network.train(learns)
    if shape != wanted:
        raise ModelError(
            f"{config.backbone} gives back {list(shape)} for an image {list(wanted)}; choose an image_size that its "
            "strides divide"
        )
