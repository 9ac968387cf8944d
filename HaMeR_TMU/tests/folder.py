"""This folder, as the suites see it."""

from pathlib import Path

from suites.hands import HandFolder

from hamer_tmu.model import HaMeR, HaMeRConfig, load_hamer, save_hamer

FOLDER = HandFolder(
    name="HaMeR",
    root=Path(__file__).resolve().parents[1],
    build=HaMeR,
    config=HaMeRConfig,
    load=load_hamer,
    save=save_hamer,
    package="hamer_tmu",
    published_name="hamer.ckpt",
    upstream="github.com/geopavlakos/hamer",
    case_fields=lambda content: {"decoder": {k: v for k, v in content["decoder"].items() if k != "norm"}},
    micro_fields=lambda width: {
        "decoder": {
            "depth": 1, "heads": 2, "mlp_dim": 32, "dim_head": 8, "dim": width, "context_dim": width,
        }
    },
    official={
        "MODEL": {
            "IMAGE_SIZE": 256,
            "IMAGE_MEAN": [0.485, 0.456, 0.406],
            "IMAGE_STD": [0.229, 0.224, 0.225],
            "BACKBONE": {"TYPE": "vit", "PRETRAINED_WEIGHTS": "training_data/vitpose_backbone.pth"},
            "MANO_HEAD": {
                "TYPE": "transformer_decoder",
                "IN_CHANNELS": 2048,
                "TRANSFORMER_DECODER": {
                    "depth": 6, "heads": 8, "mlp_dim": 1024, "dim_head": 64, "dropout": 0.0,
                    "emb_dropout": 0.0, "norm": "layer", "context_dim": 1280,
                },
            },
        },
        "MANO": {"MODEL_PATH": "mano", "NUM_HAND_JOINTS": 15, "CREATE_BODY_POSE": False},
        "EXTRA": {"FOCAL_LENGTH": 5000},
        "TRAIN": {"LR": "1e-05"},
    },
    needed="mano_head.deccam.bias",
    keys=563,
    # A query alone cannot choose what it attends to; its embedding's input is zero.
    unused=("to_token_embedding.weight", "0.fn.to_qkv"),
)  # fmt: skip
