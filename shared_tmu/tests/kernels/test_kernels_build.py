"""Every kernel is built for data-centre GPUs, down to machine code: that needs no GPU, only Triton."""

from __future__ import annotations

import os

import pytest

pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("the interpreter builds nothing", allow_module_level=True)

INT = "i32"
PLAN = dict.fromkeys(("num_tokens", "num_sources", "num_targets", "first_source", "first_target"), INT)


def build(kernel, arguments: dict[str, str], constants: dict[str, object], capability: int, warps: int):
    """Compile for a capability, e.g. 90 for Hopper; arguments by name and Triton type."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature = {name: arguments.get(name, "constexpr") for name in kernel.arg_names}
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    assert set(arguments) | set(constants) == set(kernel.arg_names)
    source = ASTSource(kernel, signature, constexprs=places)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps})


def cases():
    from shared_tmu.kernels.device_code.merge import merge_kernel
    from shared_tmu.kernels.device_code.plan import map_kernel, match_kernel, plan_kernel, rank_kernel
    from shared_tmu.kernels.device_code.widen import widen_kernel
    from shared_tmu.kernels.launch import BLOCKS

    planning = _planning_cases(plan_kernel, match_kernel, rank_kernel, map_kernel, BLOCKS)
    return planning | _other_cases(merge_kernel, widen_kernel, BLOCKS)


def _planning_cases(plan_kernel, match_kernel, rank_kernel, map_kernel, BLOCKS):
    tile = {"D": 80, "BLOCK_T": BLOCKS.targets, "BLOCK_D": BLOCKS.channels}
    ranked = {"BLOCK_A": BLOCKS.ranked, "BLOCK_J": BLOCKS.ranked}
    slots = {"r": INT, "num_prefix_tokens": INT, "source_map": "*i64"}
    return {
        "plan": (
            plan_kernel,
            {"metric": "*fp32", **slots, **PLAN},
            {**tile, "BLOCK_A": BLOCKS.image_sources, "IN_ORDER": False},
            8,
        ),
        "match": (
            match_kernel,
            {"metric": "*fp32", "score": "*fp32", "target": "*i64", **PLAN},
            {**tile, "BLOCK_A": BLOCKS.sources},
            4,
        ),
        "rank": (rank_kernel, {"score": "*fp32", "rank": "*i32", "num_sources": INT}, ranked, 8),
        "map": (
            map_kernel,
            {"rank": "*i32", "target": "*i64", **slots, **PLAN},
            {**ranked, "IN_ORDER": True},
            8,
        ),
    }


def _other_cases(merge_kernel, widen_kernel, BLOCKS):
    counts = dict.fromkeys(("num_tokens", "num_slots", "num_original"), INT)
    merged = {"C": 1280, "BLOCK_N": 256, "BLOCK_C": BLOCKS.merged_channels}
    strides = {f"stride_{t}{axis}": INT for t in "qkv" for axis in "bhn"}
    return {
        "merge": (
            merge_kernel,
            {
                **dict.fromkeys(("x", "out"), "*bf16"),
                **dict.fromkeys(("size", "size_out"), "*fp32"),
                **dict.fromkeys(("source_map", "before", "after"), "*i64"),
                **counts,
            },
            {**merged, "HAS_SIZE": True, "HAS_BEFORE": True},
            4,
        ),
        "merge-first": (
            merge_kernel,
            {"x": "*fp16", "out": "*fp16", "size_out": "*fp32", "source_map": "*i64", **counts},
            {**merged, "HAS_SIZE": False, "HAS_BEFORE": False, "size": None, "before": None, "after": None},
            4,
        ),
        "widen": (
            widen_kernel,
            {
                **dict.fromkeys(("q", "k", "v", "out"), "*bf16"),
                **dict.fromkeys(("query_channel", "key_factor"), "fp32"),
                **{"size": "*fp32", "batch_size": INT, "num_tokens": INT},
                **strides,
            },
            {"H": 16, "D": 80, "WIDE": 88, "BLOCK_H": 16, "BLOCK_D": 128},
            4,
        ),
    }


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("name", ["plan", "match", "rank", "map", "merge", "merge-first", "widen"])
def test_builds(name, capability):
    kernel, arguments, constants, warps = cases()[name]
    built = build(kernel, arguments, constants, capability, warps)
    assert len(built.asm["cubin"]) > 0
    assert built.metadata.shared <= 48 * 1024  # what every GPU gives a program without asking
    assert ".local" not in built.asm["ptx"]
