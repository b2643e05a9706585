"""A small network of each family of timm trains on a CPU, and as it would with plain memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CRASHED = ("repvgg_a0", "mobileone_s0")
"""Networks that a fault of torch 2.14's library crashed with AVX2."""
FAMILIES = """
halonet_h1 test_byobnet cait_xxs24_224 coat_tiny convit_tiny test_convnext cpubone_nano crossvit_tiny_240 csatv2
cs3darknet_focus_s cspnext_tiny deit_tiny_patch16_224 densenet121 dla46x_c dpn48b edgenext_xx_small efficientformer_l1
efficientformerv2_s0 test_efficientnet efficientvim_m1 efficientvit_b0 efficientvit_m0 vit_tiny_patch16_dinov3_qkvb
fasternet_t0 fastvit_t8 gcvit_xxtiny ghostnet_050 hardcorenas_b hgnetv2_b0 hrnet_w18_small iformer_t
inception_next_atto lcnetv2_small levit_128s lowformer_b0 test_mambaout test_coatnet poolformerv2_s12 gmlp_ti16_224
lcnet_035 mobilevit_xxs test_nfnet pit_ti_224 pvt_v2_b0 regnetx_002 repghostnet_050 repvit_m1 resnest14d test_resnet
resnetv2_18 rexnet_100 legacy_seresnet18 shvit_s1 skresnet18 starnet_s050 swiftformer_xs tiny_vit_5m_224
visformer_tiny test_vit vit_tiny_r_s16_p8_224 test_vit_relpos ese_vovnet19b_slim_dw xcit_nano_12_p8_224
""".split()  # noqa: SIM905  # as a list it would take a line each


def outcomes(*names: str) -> dict[str, str]:
    """Train networks as on a processor with AVX2 and without AVX-512, and return what went wrong with each."""
    avx2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "tests.training.families", *names]
    env = {**os.environ, **avx2, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, env=env, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def test_networks_with_strided_convolutions_of_few_channels_do_not_crash() -> None:
    assert outcomes(*CRASHED) == dict.fromkeys(CRASHED, "")


@pytest.mark.slow
def test_a_small_network_of_each_family_trains_as_it_would_with_plain_memory() -> None:
    wrong = [f"{name}: {why}" for name, why in outcomes(*FAMILIES).items() if why]
    assert wrong == []
