"""Options of methods as text: what can be set, how it is written; every variant is a sound method."""

from __future__ import annotations

import pickle
from typing import get_args, get_origin

import pytest
import torch
from rows import METHODS, check, options

from shared_tmu import patch, run_trunk
from shared_tmu.errors import MethodError
from shared_tmu.method_parts.places import Inside
from shared_tmu.method_parts.variants import find_options
from shared_tmu.methods import METHODS as LISTED
from shared_tmu.methods import find_method


def another(option) -> list[str]:
    """Values that are not the default."""
    if get_origin(option.kind) is not None and not isinstance(option.default, tuple):
        return [value for value in get_args(option.kind) if value != option.default]
    if option.kind is bool:
        return [str(not option.default).lower()]
    number = "0" if option.default is None else "4"
    return {int: [number], float: ["0.25"]}.get(option.kind, ["2x4"])


VARIANTS = [
    f"{name}:{key}={value}"
    for name, row in LISTED.items()
    for key, option in find_options(row).items()
    for value in another(option)
]


@pytest.mark.parametrize("text", VARIANTS)
@torch.no_grad()
def test_every_variant_is_a_method(text, vit):
    method = find_method(text)
    assert method.name == text
    assert find_method(text) is method
    x, mask = torch.randn(2, 3 + 40, 32), torch.zeros(2, 43, dtype=torch.bool)
    mask[:, 5:12] = True
    settings = {**options(method.name.partition(":")[0], 40, 3), "method": text}
    full, route = run_trunk(vit.blocks, x, "5x3", **settings)
    assert full.isfinite().all()
    check(route, 3)
    base, _ = run_trunk(vit.blocks, x, "5x3", **{**settings, "method": text.partition(":")[0]})
    masked, route = run_trunk(vit.blocks, x, "5x3", mask=mask, **settings)
    check(route, 3)
    assert masked.isfinite().all()
    assert not torch.equal(full, base)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("pitome: margin=.50 : variant=bsm", "pitome:variant=bsm:margin=0.5"),
        ("tome-kth:k=03", "tome-kth"),
        ("mctf:reuses_map=False:tau_info=0.0", "mctf:tau_info=0:reuses_map=false"),
        ("mctf:tau_sim=1.0", "mctf"),
        ("window:window=4x4", "window"),
    ],
)
def test_the_name_says_what_is_not_the_default(text, name):
    assert find_method(text).name == name
    assert find_method(find_method(text).name).name == name
    assert pickle.loads(pickle.dumps(find_method(text))).name == name


def test_options_reach_plan_place_and_limit(vit):
    assert find_method("tome-kth:k=4").limit(40, 0) == 30
    step = find_method("mctf:reuses_map=false").step
    assert isinstance(step, Inside)
    assert not step.reuses_map
    with patch(vit, "20x1", "tome-kth:k=4", record=True, num_prefix_tokens=0) as handle, torch.no_grad():
        vit(torch.randn(1, 40, 32))
        assert handle.plan.num_slots == 20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "pitome:x=1",
            "cannot read 'x=1' as an option of method 'pitome': it has variant=split|bsm|text, margin=",
        ),
        ("pitome:", "cannot read ''"),
        ("pitome:margin", "cannot read 'margin'"),
        ("pitome:margin=0:margin=1", "cannot read 'margin=1'"),
        ("pitome:margin=nan", "use a number from -1 to 0.99"),
        ("pitome:margin=1", "use a number from -1 to 0.99"),
        ("tome:k=3", "it has none"),
        ("tome-kth:k=1", "use a whole number from 2 to 4096"),
        ("tome-kth:k=2.0", "use a whole number"),
        ("tome-kth:cuts_tail=1", "use true|false"),
        ("window:window=0x4", "use ROWSxCOLUMNS"),
        ("atc:linkage=ward", "use average|complete|single"),
        ("nope:k=3", "there is no method 'nope:k=3'"),
    ],
)
def test_what_cannot_be_set(text, message):
    with pytest.raises(MethodError) as caught:
        find_method(text)
    assert message in str(caught.value)


def test_the_example_of_the_help_works():
    assert METHODS["pitome"].name == "pitome"
    assert find_method("pitome:variant=bsm").name == "pitome:variant=bsm"
