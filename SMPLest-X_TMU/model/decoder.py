"""SMPLest-X's decoder: the encoder's tokens attend to the image tokens again and give SMPL-X parameters.

Legend: B batch, T = 80 task tokens, P patch tokens, C channels. Names are those of the published checkpoint.

Source: Yin et al. 2025, SMPLest-X: Ultimate Scaling for Expressive Human Pose and Shape Estimation,
    arXiv:2501.09782.
"""

import torch
from torch import Tensor, nn

from shared_tmu.errors import InputError
from shared_tmu.models.decoder import DecoderLayers
from shared_tmu.models.hand import widened
from smplest_x_tmu.model.config import BodyDecoderConfig

NUM_TASK_TOKENS = 80

# module, its first task token, number of tokens that it reads, and number of its outputs
LAYERS = (
    ("dec_body_root_pose", 0, 1, 6),
    ("dec_body_pose", 1, 21, 21 * 6),
    ("dec_body_shape", 22, 10, 10),
    ("dec_body_cam", 32, 1, 3),
    ("dec_hand_root_pose", 33, 2, 2 * 6),
    ("dec_hand_pose", 35, 30, 30 * 6),
    ("dec_hand_cam", 65, 2, 2 * 3),
    ("dec_face_root_pose", 67, 1, 6),
    ("dec_face_expression", 68, 10, 10),
    ("dec_face_jaw_pose", 78, 1, 6),
    ("dec_face_cam", 79, 1, 3),
)
IDENTITY, UPRIGHT = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0), (1.0, 0.0, 0.0, -1.0, 0.0, 0.0)
"""Interleaved 6D form of no rotation, and of a rotation by 180 degrees about x."""

START_LOGIT = 0.9  # for the distance: about 40 m with the published camera
_BOTH_HANDS = "dec_hand_"  # the first half of these outputs belongs to the left hand


class TokenReader(nn.Module):
    """All tokens, with one common position embedding, attend to each other and to the image tokens."""

    def __init__(self, config: BodyDecoderConfig) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.randn(1, 1, config.dim))
        self.to_token_embedding = nn.Linear(NUM_TASK_TOKENS, config.dim)  # in the checkpoint, but not used
        self.dropout = nn.Dropout(config.emb_dropout)
        self.transformer = DecoderLayers(config)

    def forward(self, tokens: Tensor, context: Tensor) -> Tensor:
        """Let queries `[B, T + P, C]` attend to `context` `[B, P, C]`; returns the queries' shape."""
        return self.transformer(self.dropout(tokens + self.pos_embedding), context)


class BodyDecoder(nn.Module):
    """Maps tokens to rotations in 6D, shape, expression and cameras, in at least float32."""

    def __init__(self, config: BodyDecoderConfig) -> None:
        super().__init__()
        self.dim = config.dim
        self.transformer = TokenReader(config)
        self.token_conv = nn.Linear(config.dim, config.dim_out)
        for name, _, count, numbers in LAYERS:
            setattr(self, name, nn.Linear(count * config.dim_out, numbers))
        self.start_near_rest()

    @torch.no_grad()
    def start_near_rest(self) -> None:
        """Initialise the last layers so that an untrained model predicts a person in the rest pose who stands
        upright, faces the camera and fills most of the crop.
        """
        for name, *_ in LAYERS:
            layer = getattr(self, name)
            nn.init.xavier_uniform_(layer.weight, gain=0.01)
            nn.init.zeros_(layer.bias)
            if name.endswith("_pose"):
                upright = name.endswith("_root_pose")  # SMPL-X's y axis points up, the camera's points down
                layer.bias.copy_(
                    torch.tensor(UPRIGHT if upright else IDENTITY).repeat(layer.out_features // 6)
                )
        self.dec_body_cam.bias[2] = START_LOGIT

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        """Predict from the encoder's tokens `[B, T + P, C]`, task tokens first, for any P of at least one.

        Returns:
            `body_root_pose` `[B, 6]`, `body_pose` `[B, 126]`, `body_betas` `[B, 10]`, `body_cam` `[B, 3]`;
            `lhand_` and `rhand_` `root_pose` `[B, 6]`, `pose` `[B, 90]`, `cam` `[B, 3]`; `face_root_pose`
            `[B, 6]`, `face_expression` `[B, 10]`, `face_jaw_pose` `[B, 6]`, `face_cam` `[B, 3]`. Rotations
            are interleaved 6D.

        Raises:
            InputError: the tokens have another shape.
        """
        return self.read(self.task_features(tokens))

    def task_features(self, tokens: Tensor) -> Tensor:
        """The input of the last layers, `[B, T, dim_out]`; see `forward` for the argument."""
        if tokens.ndim != 3 or tokens.shape[2] != self.dim or tokens.shape[1] <= NUM_TASK_TOKENS:
            raise InputError(
                f"the decoder expects {NUM_TASK_TOKENS} task tokens and image tokens, [B, N, {self.dim}] "
                f"with N > {NUM_TASK_TOKENS}, found {list(tokens.shape)}."
            )
        read = self.transformer(tokens, tokens[:, NUM_TASK_TOKENS:])
        return self.token_conv(read[:, :NUM_TASK_TOKENS])

    def read(self, features: Tensor) -> dict[str, Tensor]:
        """Apply the last layers to the result of `task_features`."""
        out: dict[str, Tensor] = {}
        for name, first, count, _ in LAYERS:
            numbers = widened(getattr(self, name)(features[:, first : first + count].flatten(1)))
            if name.startswith(_BOTH_HANDS):
                kind = name.removeprefix(_BOTH_HANDS)
                out[f"lhand_{kind}"], out[f"rhand_{kind}"] = numbers.chunk(2, dim=1)
            else:
                out[name.removeprefix("dec_")] = numbers
        out["body_betas"] = out.pop("body_shape")
        return out
