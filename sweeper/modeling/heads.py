"""The head: from pooled features to class scores."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from sweeper.config.hyperparameters import HeadConfig

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
}
NORMS: dict[str, type[nn.Module]] = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


def build_head(config: HeadConfig, features: int, classes: int) -> nn.Sequential:
    """Build the layers that turn features [B, features] into class scores [B, classes].

    Every hidden layer is a linear layer, a normalisation and an activation; dropout stands before
    every linear layer. Layers are named, so that leaving dropout out renames no weights. A linear layer
    before batch normalisation has no bias: the mean that is taken away has it, and Adam would move it by
    nothing but what rounding leaves of its gradient.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, width in enumerate(config.hidden):
        add_linear(layers, str(number), features, width, config.dropout, bias=config.norm != "batch")
        if config.norm != "none":
            layers[f"norm{number}"] = NORMS[config.norm](width)
        layers[f"activation{number}"] = ACTIVATIONS[config.activation]()
        features = width
    add_linear(layers, "_out", features, classes, config.dropout)
    return nn.Sequential(layers)


def add_linear(
    layers: OrderedDict[str, nn.Module], suffix: str, inputs: int, outputs: int, dropout: float, *, bias: bool = True
) -> None:
    if dropout:  # a rate of 0 would only cost time
        layers[f"dropout{suffix}"] = nn.Dropout(dropout)
    layers[f"linear{suffix}"] = nn.Linear(inputs, outputs, bias)
