"""Transformer blocks: recognised by their parts, checked, and run in two halves.

A block is accepted if it has `norm1`, `attn.qkv` (or `q_proj`, `k_proj`, `v_proj`), `attn.proj`,
`attn.num_heads`, `norm2` and `mlp`; or if it is built around `nn.MultiheadAttention` (`parts`). Used if
present: `ls1`/`ls2` or `gamma_1`/`gamma_2` (layer scale), `drop_path` or `drop_path1`/`drop_path2`,
`attn.scale`, `attn.q_norm`/`attn.k_norm`, `attn.norm`, `attn.q_bias`/`k_bias`/`v_bias`, `attn.attn_drop`,
`attn.proj_drop`; rotary embeddings and biases between positions, which follow the tokens (`positions`). A
block with any other part that has an effect is refused; no part is ignored.
"""
