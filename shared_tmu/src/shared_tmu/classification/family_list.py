"""The families of the table, each with a small model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Family:
    """A family of models.

    Attributes:
        name: what the table calls it.
        module: module of timm, or `torchvision`.
        model: name of one model.
        options: small sizes for it; empty for classes that do not take them.
    """

    name: str
    module: str
    model: str
    options: Mapping[str, Any] = field(default_factory=dict)


_SMALL = {"embed_dim": 64, "depth": 2, "num_heads": 4}
_VIT = {**_SMALL, "img_size": 64}
_TORCHVISION = {
    "image_size": 64, "patch_size": 16, "num_layers": 2, "num_heads": 4, "hidden_dim": 64, "mlp_dim": 128,
}  # fmt: skip
_OF_14 = {**_SMALL, "img_size": 56}

FAMILIES: tuple[Family, ...] = (
    Family("ViT, AugReg, MAE", "vision_transformer", "vit_base_patch16_224", _VIT),
    Family("DINOv2 with registers", "vision_transformer", "vit_small_patch14_reg4_dinov2", _OF_14),
    Family("CLIP", "vision_transformer", "vit_base_patch16_clip_224", _VIT),
    Family("SigLIP, attention pool", "vision_transformer", "vit_base_patch16_siglip_224", _VIT),
    Family("SigLIP, average pool", "vision_transformer", "vit_base_patch16_siglip_gap_224", _VIT),
    Family("AIMv2", "vision_transformer", "aimv2_large_patch14_224", _OF_14),
    Family("ViT, registers and average pool", "vision_transformer", "vit_little_patch16_reg4_gap_256", _VIT),
    Family("ViT, norms after each branch", "vision_transformer", "vit_base_patch16_rpn_224", _VIT),
    Family("ViT, parallel branches", "vision_transformer", "vit_base_patch16_xp_224", _VIT),
    Family("ViT, differential attention", "vision_transformer", "vit_dwee_patch16_reg1_gap_256", _VIT),
    Family("DeiT, distilled", "deit", "deit_tiny_distilled_patch16_224", _VIT),
    Family("DeiT III", "deit", "deit3_small_patch16_224", _VIT),
    Family("ViT-hybrid (ResNet stem)", "vision_transformer_hybrid", "vit_tiny_r_s16_p8_224", {"depth": 2}),
    Family("ViTamin", "vitamin", "vitamin_small_224", {"depth": 2, "img_size": 64}),
    Family("NaFlexViT", "naflexvit", "naflexvit_base_patch16_gap", _SMALL),
    Family("SWAG, torchvision ViT", "torchvision", "vit_b_16", _TORCHVISION),
    Family("BEiT, BEiT v2", "beit", "beit_base_patch16_224", _VIT),
    Family("EVA", "eva", "eva_large_patch14_196", _OF_14),
    Family("EVA-02", "eva", "eva02_tiny_patch14_224", _OF_14),
    Family("EVA-02, norms after each branch", "eva", "eva02_enormous_patch14_clip_224", _OF_14),
    Family("Perception Encoder (PE)", "eva", "vit_pe_core_base_patch16_224", _VIT),
    Family("DINOv3", "eva", "vit_small_patch16_dinov3", _VIT),
    Family("Sapiens 2", "eva", "vit_large_patch16_sapiens2", {"embed_dim": 128, "img_size": 64}),
    Family("ViT-RoPE, axial", "eva", "vit_small_patch16_rope_224", _VIT),
    Family("ViT-RoPE, mixed", "eva", "vit_small_patch16_rope_mixed_224", _VIT),
    Family("ViT, relative positions", "vision_transformer_relpos", "vit_relpos_small_patch16_224", _VIT),
    Family("ViT, shared rel. positions", "vision_transformer_relpos", "vit_srelpos_small_patch16_224", _VIT),
    Family(
        "ViT, rel. positions, norms last",
        "vision_transformer_relpos",
        "vit_relpos_base_patch32_plus_rpn_256",
        {**_SMALL, "img_size": 128},
    ),
    Family("DeepSeek ViT", "deepseek_vit", "deepseek_vit_412m", _OF_14),
    Family("Qwen3 ViT", "qwen3_vit", "qwen3_vit_88m", _VIT),
    Family("Gemma 4 ViT", "gemma4_vit", "gemma4_vit_167m", {"depth": 1}),
    Family("SAM", "vision_transformer_sam", "samvit_base_patch16_224", {"depth": 1}),
    Family("SAM 2 (Hiera)", "hieradet_sam2", "hieradet_small"),
    Family("Hiera", "hiera", "hiera_tiny_224"),
    Family("MViTv2", "mvitv2", "mvitv2_tiny"),
    Family("CaiT", "cait", "cait_xxs24_224", {"depth": 2}),
    Family("XCiT", "xcit", "xcit_nano_12_p16_224"),
    Family("VOLO", "volo", "volo_d1_224"),
    Family("ConViT", "convit", "convit_tiny"),
    Family("CrossViT", "crossvit", "crossvit_9_240"),
    Family("TNT", "tnt", "tnt_s_patch16_224", {"depth": 2}),
    Family("PiT", "pit", "pit_ti_224"),
    Family("LeViT", "levit", "levit_128s"),
    Family("CoaT", "coat", "coat_lite_mini"),
    Family("Swin", "swin_transformer", "swin_tiny_patch4_window7_224"),
    Family("Swin v2", "swin_transformer_v2", "swinv2_tiny_window8_256"),
    Family("Swin v2, other implementation", "swin_transformer_v2_cr", "swinv2_cr_tiny_224"),
    Family("Twins", "twins", "twins_pcpvt_small"),
    Family("PVT v2", "pvt_v2", "pvt_v2_b0"),
    Family("Visformer", "visformer", "visformer_tiny"),
    Family("DaViT", "davit", "davit_tiny"),
    Family("GC ViT", "gcvit", "gcvit_xxtiny"),
    Family("NesT", "nest", "nest_tiny"),
    Family("MaxViT, CoAtNet", "maxxvit", "coatnet_nano_rw_224"),
    Family("TinyViT", "tiny_vit", "tiny_vit_5m_224"),
    Family("MobileViT", "mobilevit", "mobilevit_xxs"),
    Family("Next-ViT", "nextvit", "nextvit_small"),
    Family("EfficientFormer", "efficientformer", "efficientformer_l1"),
    Family("MLP-Mixer, ResMLP, gMLP", "mlp_mixer", "mixer_s32_224"),
    Family("MetaFormer, CAFormer", "metaformer", "caformer_s18"),
    Family("ConvNeXt", "convnext", "convnext_atto"),
)

WITHOUT_BLOCKS = (
    "byoanet", "byobnet", "convmixer", "cpubone", "csatv2", "cspnet", "cspnext", "densenet", "dla",
    "dpn", "edgenext", "efficientformer_v2", "efficientnet", "efficientvim", "efficientvit_mit",
    "efficientvit_msra", "fasternet", "fastvit", "focalnet", "ghostnet", "hardcorenas", "hgnet",
    "hrnet", "iformer", "inception_next", "inception_resnet_v2", "inception_v3", "inception_v4",
    "lcnetv2", "lowformer", "mambaout", "mobilenetv3", "mobilenetv5", "nasnet", "nfnet", "pnasnet",
    "rdnet", "regnet", "repghost", "repvit", "res2net", "resnest", "resnet", "resnetv2", "rexnet",
    "selecsls", "senet", "sequencer", "shvit", "sknet", "starnet", "swiftformer", "tresnet", "vgg",
    "vovnet", "xception", "xception_aligned",
)  # fmt: skip
"""The other modules of timm 1.0: convolutions and mixed networks without a single list of ViT blocks."""
