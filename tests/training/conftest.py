"""What several tests of training begin from."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Weights of a backbone whose outputs differ from image to image."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "test_resnet.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), path)
    return str(path)
