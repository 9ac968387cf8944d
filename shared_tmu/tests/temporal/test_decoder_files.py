"""The file of a trained decoder: complete, checked, and tied to the weights whose features it reads."""

import pytest
import torch
from torch import nn

from shared_tmu.errors import CheckpointError, MissingAssetError
from shared_tmu.files.checkpoints import save_safetensors
from shared_tmu.temporal.config import TemporalConfig
from shared_tmu.temporal.files import (
    DecoderFacts,
    decoder_path,
    load_decoder,
    mark_weights,
    require_decoder_fit,
    save_decoder,
)
from shared_tmu.temporal.model import MotionDecoder

SIZES = TemporalConfig("hand", 9, 3, 16, 16, 2, 3, 3, condition=12)


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    decoder, model = MotionDecoder(SIZES).eval(), nn.Linear(3, 4)
    path = decoder_path(tmp_path / "thin.safetensors")
    save_decoder(path, decoder, DecoderFacts("Toy", mark_weights(model), {"clips": 3}))
    return path, decoder, model


def test_a_file_gives_the_same_decoder(saved):
    path, decoder, model = saved
    assert path.name == "thin.decoder.safetensors"
    read, facts = load_decoder(path)
    assert read.config == SIZES
    assert facts.measured == {"clips": 3}
    require_decoder_fit(facts, model, path)
    condition = torch.randn(1, 9, 12)
    want = decoder.half().float().sample(condition, torch.Generator().manual_seed(0))
    got = read.sample(condition, torch.Generator().manual_seed(0))
    torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-5)


def test_other_weights_are_refused(saved):
    path, _, model = saved
    facts = load_decoder(path)[1]
    require_decoder_fit(facts, model.bfloat16(), path)
    with pytest.raises(CheckpointError, match="features of other weights"):
        require_decoder_fit(facts, nn.Linear(3, 4), path)


def test_files_that_are_no_decoder(saved, tmp_path):
    path, decoder, _ = saved
    with pytest.raises(MissingAssetError):
        load_decoder(tmp_path / "none.safetensors")
    save_safetensors({"weight": torch.ones(2)}, tmp_path / "other.safetensors", {})
    with pytest.raises(CheckpointError, match="is not a temporal decoder"):
        load_decoder(tmp_path / "other.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError):
        load_decoder(path)
    decoder.vae.embed.weight.data[0, 0] = float("nan")
    save_decoder(path, decoder.float(), DecoderFacts("Toy", "", {}))
    with pytest.raises(CheckpointError, match="not finite"):
        load_decoder(path)
