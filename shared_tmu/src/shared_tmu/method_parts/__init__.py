"""What methods are made of.

* `method`: a row of the table `shared_tmu.methods.METHODS`; `places`: where in a block a row acts;
* `seen`: what its function reads; `reductions`, and `pruning` on top: what it returns;
* `protection`: tokens that stay; `read_masks`: those that are read inside a trunk;
* `learned`: the module of a method that learns;
* `restores`: ways to restore the full grid; `controls`: those of experiments.
"""
