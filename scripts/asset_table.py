"""Licensed and large files that the programs can use: licences, sources, places, and the commands that need
them.

`assets.py` is the program for this table.
"""

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class AssetPart:
    """One kind of file: `count` files whose path ends in `pattern`, stored in `folder` of data/."""

    name: str
    folder: str
    pattern: str
    sha256: str | None = None
    count: int = 1
    optional: bool = False

    def match(self, path: str) -> str | None:
        """Return the place in data/ for the file at `path` (with `/`), or None if it does not belong to this
        part.
        """
        found = re.search(rf"(?:^|/)({self.pattern})$", path)
        return f"{self.folder}/{found[1]}" if found else None

    def present(self, data: Path) -> list[Path]:
        """Return the files of this part that exist in `data`."""
        folder = data / self.folder
        return [
            path
            for path in folder.rglob("*")
            if re.fullmatch(self.pattern, path.relative_to(folder).as_posix()) and path.is_file()
        ]

    def state(self, data: Path) -> str:
        """Return 'missing', or 'found', with a count if this part is many files."""
        here = len(self.present(data))
        if self.count == 1:
            return "found" if here else "missing"
        return f"{here} of {self.count} found" if here else "missing"

    @property
    def place(self) -> str:
        """Its place in data/."""
        return f"{self.folder}/{self.name}"


@dataclass(frozen=True)
class Asset:
    """A set of files from one place under one licence; `use` is the command that needs them."""

    title: str
    licence: str
    where: str
    parts: tuple[AssetPart, ...]
    use: str


MANO = Asset(
    title="MANO, the official right-hand model (version 1.2)",
    licence="MANO licence: non-commercial research, education and art; no redistribution",
    where="register at https://mano.is.tue.mpg.de, download 'Models & Code' (mano_v1_2.zip)",
    parts=(
        AssetPart(
            "MANO_RIGHT.pkl",
            "mano",
            r"MANO_RIGHT\.pkl",
            "45d60aa3b27ef9107a7afd4e00808f307fd91111e1cfa35afd5c4a62de264767",
        ),
    ),
    use="official hand checkpoints, demo.py and eval.py --mano_path; read without executing pickle code",
)
HAMER = Asset(
    title="HaMeR, the official checkpoint",
    licence="the code is MIT; using the weights needs MANO, whose licence is non-commercial",
    where="https://github.com/geopavlakos/hamer: its fetch_demo_data.sh (hamer_demo_data.tar.gz, 6 GB)",
    parts=(
        AssetPart(
            "hamer.ckpt",
            "hamer_ckpts/checkpoints",
            r"hamer\.ckpt",
            "e5cc06f294d88a92dee24e603480aab04de532b49f0e08200804ee7d90e16f53",
        ),
        AssetPart("model_config.yaml", "hamer_ckpts", r"model_config\.yaml"),
    ),
    use="demo.py --checkpoint data/hamer_ckpts/checkpoints/hamer.ckpt --mano_path data/mano/MANO_RIGHT.pkl",
)
WILOR = Asset(
    title="WiLoR, the official checkpoint",
    licence="CC BY-NC-ND 4.0; using the weights needs MANO, whose licence is non-commercial",
    where="https://github.com/rolpotamias/WiLoR names them in its README: wilor_final.ckpt (about 2.5 "
    "GB) and, in its folder pretrained_models, model_config.yaml",
    parts=(
        AssetPart("wilor_final.ckpt", "wilor", r"wilor_final\.ckpt"),
        AssetPart("model_config.yaml", "wilor", r"model_config\.yaml"),
    ),
    use="WiLoR's demo.py --checkpoint data/wilor/wilor_final.ckpt --mano_path data/mano/MANO_RIGHT.pkl",
)
FREIHAND = Asset(
    title="FreiHAND v2, evaluation split",
    licence="research use only",
    where="https://lmb.informatik.uni-freiburg.de/projects/freihand (FreiHAND_pub_v2_eval.zip, 0.7 GB)",
    parts=(
        AssetPart("evaluation/rgb/*.jpg", "freihand", r"evaluation/rgb/\d{8}\.jpg", count=3960),
        AssetPart("evaluation_*.json", "freihand", r"evaluation_(?:K|scale|xyz|verts|mano)\.json", count=5),
    ),
    use="eval.py --dataset freihand",
)
YOLO = Asset(
    title="WiLoR's hand detector (YOLO)",
    licence="CC BY-NC-ND 4.0; the ultralytics package that runs it is AGPL-3.0",
    where="https://github.com/rolpotamias/WiLoR: detector.pt",
    parts=(
        AssetPart(
            "detector.pt",
            "detectors",
            r"detector\.pt",
            "5ef3df44e42d2db52d4ffe91f83a22ce9925e2acc9abebf453f2c5d22e380033",
        ),
    ),
    use="demo.py --detector yolo, after pip install ultralytics",
)
VITDET = Asset(
    title="the published demo's detectors: ViTDet, then ViTPose",
    licence="Apache-2.0 (code); the weights carry the terms of the data they were trained on",
    where="model_final_f05665.pkl (or model_final_ef3a80.pkl, for --body_detector regnety): "
    "https://github.com/facebookresearch/detectron2 (ViTDet-H Cascade, RegNetY); "
    "wholebody.pth: in hamer_demo_data.tar.gz; its .py: https://github.com/ViTAE-Transformer/ViTPose",
    parts=(
        AssetPart("model_final_f05665.pkl", "detectors", r"model_final_f05665\.pkl"),
        AssetPart("model_final_ef3a80.pkl", "detectors", r"model_final_ef3a80\.pkl", optional=True),
        AssetPart("wholebody.pth", "detectors", r"wholebody\.pth"),
        AssetPart("ViTPose_huge_wholebody_256x192.py", "detectors", r"ViTPose_huge_wholebody_256x192\.py"),
    ),
    use="demo.py --detector vitdet, after installing detectron2 and mmpose; give the files one by one",
)
SMPLX = Asset(
    title="SMPL-X, the official neutral body model",
    licence="SMPL-X licence: non-commercial research, education and art; no redistribution",
    where="register at https://smpl-x.is.tue.mpg.de, download the NPZ+PKL models (models_smplx_v1_1.zip)",
    parts=(AssetPart("SMPLX_NEUTRAL.npz", "smplx", r"SMPLX_NEUTRAL\.npz"),),
    use="the official SMPLest-X needs it; it is read without executing pickle code",
)
SMPLEST_X = Asset(
    title="SMPLest-X-H, the official checkpoint",
    licence="S-Lab licence: non-commercial; it predicts SMPL-X, whose licence is non-commercial too",
    where="https://github.com/SMPLCap/SMPLest-X names it in its README: smplest_x_h.pth.tar (8 GB)",
    parts=(AssetPart("smplest_x_h.pth.tar", "smplest_x", r"smplest_x_h\.pth\.tar"),),
    use="demo.py --checkpoint data/smplest_x/smplest_x_h.pth.tar --smplx_path data/smplx/SMPLX_NEUTRAL.npz",
)
HO3D_LIST = AssetPart("ho3d_val.npz", "ho3d_v3", r"ho3d_val\.npz", optional=True)  # HaMeR's
HO3D_V2, HO3D_V3 = (
    Asset(
        title=f"HO3D {version}, evaluation split, and its ground truth (public since November 2024)",
        licence="research use only; see the page of the dataset",
        where="https://github.com/shreyashampali/ho3d names the archive in its README, and "
        "evaluation_xyz.json and evaluation_verts.json",
        parts=(
            AssetPart("evaluation.txt", folder, r"evaluation\.txt"),
            AssetPart(
                f"evaluation/SEQ/rgb/*.{kind}", folder, rf"evaluation/\w+/rgb/\d+\.{kind}", count=count
            ),
            AssetPart("evaluation/SEQ/meta/*.pkl", folder, r"evaluation/\w+/meta/\d+\.pkl", count=count),
            AssetPart("evaluation_*.json", folder, r"evaluation_(?:xyz|verts)\.json", count=2),
            *extra,
        ),
        use=f"eval.py --dataset ho3d-{version}; give the archive and the two files one by one",
    )
    for version, folder, kind, count, extra in (
        ("v2", "ho3d_v2", "png", 11524, ()),
        (
            "v3",
            "ho3d_v3",
            "jpg",
            20137,
            (AssetPart("ho3d_val.npz", "ho3d_v3", r"ho3d_val\.npz", optional=True),),
        ),
    )
)
HINT = Asset(
    title="HInt: New Days, EPIC-KITCHENS VISOR and Ego4D, test pictures, and HaMeR's lists of them",
    licence="see the page of the dataset; the Ego4D pictures are under Ego4D's licence, not in the archive",
    where="https://github.com/ddshan/hint: HInt_annotation_partial.zip, and its script for Ego4D's pictures; "
    "the lists TEST_*.npz are in HaMeR's evaluation data (https://github.com/geopavlakos/hamer, Evaluation)",
    parts=(
        *(
            AssetPart(f"TEST_{part}_img/*.{suffix}", "hint", rf"TEST_{part}_img/[^/]+\.{suffix}", count=count)
            for part, count in (("newdays", 1754), ("epick", 1906), ("ego4d", 1714))
            for suffix in ("jpg", "json")
        ),
        AssetPart("TEST_*_img_*.npz", "hint", r"TEST_\w+_img_(?:all|vis|occ)\.npz", count=9, optional=True),
    ),
    use="eval.py --dataset hint-newdays, hint-epick or hint-ego4d; give the archives one by one",
)
EHF = Asset(
    title="EHF, and the regressors and vertex lists of its evaluation",
    licence="SMPL-X licence: non-commercial research, education and art; no redistribution",
    where="register at https://smpl-x.is.tue.mpg.de: EHF, 'MANO and FLAME vertex indices', and the 14-joint "
    "regressor of its tools; EHF.json (boxes, optional) is by Hand4Whole's author",
    parts=(
        AssetPart("NN_img.jpg", "EHF", r"\d{2,3}_img\.jpg", count=100),
        AssetPart("NN_align.ply", "EHF", r"\d{2,3}_align\.ply", count=100),
        AssetPart("EHF.json", "EHF", r"EHF\.json", optional=True),
        AssetPart("SMPLX_to_J14.pkl", "smplx", r"SMPLX_to_J14\.pkl"),
        AssetPart("MANO_SMPLX_vertex_ids.pkl", "smplx", r"MANO_SMPLX_vertex_ids\.pkl"),
        AssetPart("SMPL-X__FLAME_vertex_ids.npy", "smplx", r"SMPL-X__FLAME_vertex_ids\.npy"),
    ),
    use="eval.py --dataset ehf; give the archives and files one by one",
)
YOLO_PERSON = Asset(
    title="YOLOv8x, the person detector of the published SMPLest-X demo",
    licence="AGPL-3.0, like the ultralytics package that runs it",
    where="https://github.com/ultralytics/assets/releases: yolov8x.pt",
    parts=(AssetPart("yolov8x.pt", "detectors", r"yolov8x\.pt"),),
    use="SMPLest-X's demo.py --detector yolo, after pip install ultralytics",
)
YOLO_SEGMENTER = Asset(
    title="YOLO11n-seg, which segments people for --mask segmentation",
    licence="AGPL-3.0, like the ultralytics package that runs it",
    where="https://github.com/ultralytics/assets/releases: yolo11n-seg.pt",
    parts=(AssetPart("yolo11n-seg.pt", "detectors", r"yolo11n-seg\.pt"),),
    use="SMPLest-X's demo.py --mask segmentation, after pip install ultralytics",
)
ASSETS = {
    "mano": MANO,
    "hamer": HAMER,
    "wilor": WILOR,
    "freihand": FREIHAND,
    "yolo": YOLO,
    "vitdet": VITDET,
    "smplx": SMPLX,
    "smplest_x": SMPLEST_X,
    "ho3d_v2": HO3D_V2,
    "ho3d_v3": HO3D_V3,
    "hint": HINT,
    "ehf": EHF,
    "yolo_person": YOLO_PERSON,
    "yolo_segmenter": YOLO_SEGMENTER,
}
