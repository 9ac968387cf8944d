"""This folder, as the suites see it."""

from pathlib import Path

from suites.bodies import BodyFolder

from smplest_x_tmu.model import SMPLestX, SMPLestXConfig, load_smplest_x, save_smplest_x

FOLDER = BodyFolder(
    name="SMPLest-X",
    root=Path(__file__).resolve().parents[1],
    build=SMPLestX,
    config=SMPLestXConfig,
    load=load_smplest_x,
    save=save_smplest_x,
    package="smplest_x_tmu",
    published_name="smplest_x_h.pth.tar",
    upstream="github.com/SMPLCap/SMPLest-X",
    needed="decoder.dec_body_cam.bias",
    keys=519,
    prefix=80,
    # The published model never calls the embedding, and decodes the others for its losses alone.
    unused=("to_token_embedding", "dec_hand_root_pose", "dec_hand_cam", "dec_face_root_pose", "dec_face_cam"),
)
