"""This folder, as the suites see it."""

from pathlib import Path

from suites.hands import HandFolder

from wilor_tmu.model import WiLoR, WiLoRConfig, load_wilor, save_wilor

FOLDER = HandFolder(
    name="WiLoR",
    root=Path(__file__).resolve().parents[1],
    build=WiLoR,
    config=WiLoRConfig,
    load=load_wilor,
    save=save_wilor,
    package="wilor_tmu",
    published_name="wilor_final.ckpt",
    upstream="github.com/rolpotamias/WiLoR",
    case_fields=lambda content: {"refine_scales": content["refine_net"]["upscale"]},
    micro_fields=lambda width: {"refine_scales": 3},
    official={
        "MODEL": {
            "IMAGE_SIZE": 256,
            "IMAGE_MEAN": [0.485, 0.456, 0.406],
            "IMAGE_STD": [0.229, 0.224, 0.225],
            "BACKBONE": {"TYPE": "vit", "PRETRAINED_WEIGHTS": "training_data/vitpose_backbone.pth"},
            "MANO_HEAD": {
                "TYPE": "transformer_decoder",
                "IN_CHANNELS": 2048,
                "TRANSFORMER_DECODER": {"depth": 6, "heads": 8, "mlp_dim": 1024, "context_dim": 1280},
            },
        },
        "MANO": {"MODEL_PATH": "./mano_data/", "NUM_HAND_JOINTS": 15, "GENDER": "neutral"},
        "EXTRA": {"FOCAL_LENGTH": 5000},
    },
    needed="refine_net.dec_pose.weight",
    keys=490,
    prefix=18,
)
