"""A SMPLest-X of random weights whose people stand upright in the middle of their crops."""

from pathlib import Path

import torch

from shared_tmu.body_models import load_smplx
from shared_tmu.models.config import ViTConfig
from smplest_x import BodyDecoderConfig, SMPLestX, SMPLestXConfig, save_smplest_x


def save_tiny(path: Path, depth: int = 4) -> Path:
    torch.manual_seed(0)
    encoder = ViTConfig(embed_dim=16, depth=depth, num_heads=2, mlp_ratio=2, drop_path_rate=0.0)
    decoder = BodyDecoderConfig(depth=1, heads=1, dim_head=8, dim=16, mlp_dim=16, context_dim=16, dim_out=4)
    model = SMPLestX(SMPLestXConfig(encoder=encoder, decoder=decoder), load_smplx())
    with torch.no_grad():
        for name, parameter in model.decoder.named_parameters():
            if name.startswith("dec_") and name.endswith("weight"):
                parameter.mul_(10.0)  # pictures must make a difference
    save_smplest_x(model, path, torch.float32)
    return path
