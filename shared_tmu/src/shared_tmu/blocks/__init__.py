"""Transformer blocks: recognised by their parts, checked, and run in two halves.

A block is accepted if it has `norm1`, `attn.qkv`, `attn.proj`, `attn.num_heads`, `norm2` and `mlp`. Used if
present: `ls1`/`ls2` or `gamma_1`/`gamma_2` (layer scale), `drop_path` or `drop_path1`/`drop_path2`,
`attn.scale`, `attn.q_norm`/`attn.k_norm`, `attn.attn_drop`, `attn.proj_drop`. A block with any other part
that has an effect is refused; no part is ignored.
"""
