"""What a HaMeR looks like: sizes as frozen dataclasses, read from our YAML or from the published one."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from shared_tmu.errors import ConfigError, MissingAssetError

T = TypeVar("T")


@dataclass(frozen=True)
class ViTConfig:
    """The backbone. Defaults are ViT-H as published: 192 tokens of 1280 channels through 32 blocks.

    Attributes:
        img_size: height and width the backbone sees, pixels.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0; training only.
        use_checkpoint: recompute the blocks in the backward pass to save memory; training only.
    """

    img_size: tuple[int, int] = (256, 192)
    patch_size: int = 16
    patch_padding: int = 2
    embed_dim: int = 1280
    depth: int = 32
    num_heads: int = 16
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    drop_path_rate: float = 0.55
    use_checkpoint: bool = False

    def __post_init__(self) -> None:
        if min(self.depth, self.num_heads, self.patch_size) < 1 or min(self.grid) < 1:
            raise ConfigError(f"a backbone needs at least one block, head and patch, found {self}.")
        if self.embed_dim < 1 or self.embed_dim % self.num_heads:
            raise ConfigError(
                f"embed_dim {self.embed_dim} does not split into {self.num_heads} heads of equal width."
            )
        if not 0 <= self.drop_path_rate < 1:
            raise ConfigError(f"drop_path_rate must be in [0, 1), found {self.drop_path_rate}.")

    @property
    def grid(self) -> tuple[int, int]:
        """Patch tokens along height and width."""
        height, width = (
            (side + 2 * self.patch_padding - self.patch_size) // self.patch_size + 1 for side in self.img_size
        )
        return height, width


@dataclass(frozen=True)
class DecoderConfig:
    """The transformer decoder of the head; names as in the published `TRANSFORMER_DECODER`."""

    depth: int = 6
    heads: int = 8
    mlp_dim: int = 1024
    dim_head: int = 64
    dim: int = 1024
    dropout: float = 0.0
    emb_dropout: float = 0.0
    context_dim: int = 1280

    def __post_init__(self) -> None:
        if min(self.depth, self.heads, self.mlp_dim, self.dim_head, self.dim, self.context_dim) < 1:
            raise ConfigError(f"every size of the decoder must be at least 1, found {self}.")


@dataclass(frozen=True)
class HaMeRConfig:
    """A whole model. The defaults are the published HaMeR.

    Attributes:
        image_size: side of the square network input, pixels; the model cuts equal columns left and right of
            it until `backbone.img_size` is left.
        image_mean, image_std: RGB normalisation of the input, of values in 0..1.
        focal_length_px: focal length for the `image_size` crop.
        with_discriminator: build the pose discriminator too (adversarial training only).
    """

    image_size: int = 256
    image_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    image_std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    focal_length_px: float = 5000.0
    with_discriminator: bool = False
    backbone: ViTConfig = field(default_factory=ViTConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)

    def __post_init__(self) -> None:
        height, width = self.backbone.img_size
        if height != self.image_size or width > self.image_size or (self.image_size - width) % 2:
            raise ConfigError(
                f"a backbone for {height}x{width} does not fit the middle of a {self.image_size} px square "
                "input: the height must be equal and the difference in width even."
            )
        if self.decoder.context_dim != self.backbone.embed_dim:
            raise ConfigError(
                f"the decoder reads {self.decoder.context_dim} channels, "
                f"the backbone has {self.backbone.embed_dim}."
            )

    @classmethod
    def official(cls) -> "HaMeRConfig":
        """Return the published HaMeR: ViT-H, 192 tokens, a 6-layer decoder."""
        return cls()

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], source: str = "configuration") -> "HaMeRConfig":
        """Read either layout: ours (the field names above) or the published one (with a `MODEL` section).

        Raises:
            ConfigError: an unknown field, a value of the wrong kind, or a variant of the published model that
                this package does not build.
        """
        if "MODEL" in content:
            return _from_official(content, source)
        return _build(cls, {k: v for k, v in content.items() if k != "model"}, source)

    @classmethod
    def from_yaml(cls, path: Path | str) -> "HaMeRConfig":
        """Read a YAML file in either layout.

        Raises:
            MissingAssetError: there is no such file.
            ConfigError: the file is no YAML mapping, or see `from_dict`.
        """
        return cls.from_dict(read_yaml(path), str(path))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `from_dict` reads back and YAML can hold."""
        return {"model": "hamer", **_plain(asdict(self))}


def read_yaml(path: Path | str) -> dict[str, Any]:
    """Read a YAML mapping of plain values; tags that would build Python objects are refused.

    Raises:
        MissingAssetError: there is no such file.
        ConfigError: the file cannot be read as a YAML mapping.
    """
    import yaml

    path = Path(path)
    if not path.is_file():
        raise MissingAssetError(f"{path.name} is not in {path.parent}; it says how large the model is.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no mapping but {type(content).__name__}.")
    return content


def _from_official(content: Mapping[str, Any], source: str) -> HaMeRConfig:
    model = _section(content, "MODEL", source)
    head = _section(model, "MANO_HEAD", source)
    arguments = dict(_section(head, "TRANSFORMER_DECODER", source))
    _expect(source, "MODEL.BACKBONE.TYPE", _section(model, "BACKBONE", source).get("TYPE", "vit"), "vit")
    _expect(source, "MODEL.MANO_HEAD.TYPE", head.get("TYPE", "transformer_decoder"), "transformer_decoder")
    _expect(source, "MODEL.MANO_HEAD.TRANSFORMER_INPUT", head.get("TRANSFORMER_INPUT", "zero"), "zero")
    _expect(source, "MODEL.MANO_HEAD.JOINT_REP", head.get("JOINT_REP", "6d"), "6d")
    _expect(source, "MODEL.MANO_HEAD.IEF_ITERS", head.get("IEF_ITERS", 1), 1)
    _expect(source, "MODEL.MANO_HEAD.TRANSFORMER_DECODER.norm", arguments.pop("norm", "layer"), "layer")
    size = model.get("IMAGE_SIZE", 256)
    if size != 256:
        raise ConfigError(
            f"{source}: MODEL.IMAGE_SIZE is {size}; the published layout only describes the 256 px ViT-H. "
            "Other sizes need a file in this package's own layout (HaMeRConfig.to_dict shows it)."
        )
    extra = content.get("EXTRA") or {}
    fields_: dict[str, Any] = {"decoder": arguments, "focal_length_px": extra.get("FOCAL_LENGTH", 5000)}
    for ours, theirs in (("image_mean", "IMAGE_MEAN"), ("image_std", "IMAGE_STD")):
        if theirs in model:
            fields_[ours] = model[theirs]
    return _build(HaMeRConfig, fields_, source)


def _section(content: Mapping[str, Any], key: str, source: str) -> Mapping[str, Any]:
    value = content.get(key)
    if not isinstance(value, Mapping):
        raise ConfigError(f"{source} has no section {key}, which HaMeR's configuration needs.")
    return value


def _expect(source: str, key: str, found: Any, wanted: Any) -> None:
    if found != wanted:
        raise ConfigError(
            f"{source}: {key} is {found!r}; only {wanted!r}, as in the published weights, is built."
        )


def _build(cls: type[T], content: Mapping[str, Any], source: str) -> T:
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(content) - set(known))
    if unknown:
        raise ConfigError(f"{source}: {cls.__name__} has no {unknown}; it has {sorted(known)}.")
    values: dict[str, Any] = {}
    for key, value in content.items():
        default = known[key].default_factory() if callable(known[key].default_factory) else known[key].default  # type: ignore[misc]
        try:
            values[key] = _convert(value, default, f"{source}, {key}")
        except (TypeError, ValueError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"{source}: {key} should be like {default!r}, found {value!r}.") from error
    return cls(**values)


def _convert(value: Any, default: Any, source: str) -> Any:
    if is_dataclass(default):
        return _build(type(default), value, source)
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise TypeError
        return value
    if isinstance(default, tuple):
        if len(value) != len(default):
            raise ValueError
        return tuple(_convert(v, d, source) for v, d in zip(value, default, strict=True))
    if isinstance(default, int) and int(value) != float(value):
        raise ValueError
    return type(default)(value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, tuple) else value
