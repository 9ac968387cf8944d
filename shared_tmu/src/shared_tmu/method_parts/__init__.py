"""The parts of which methods are made.

* `method`: a row of the table `shared_tmu.methods.METHODS`; `places`: where in a block a row acts;
* `seen`: the input of its function; `reductions` and `pruning`: its results;
* `protection`: tokens that stay; `read_masks`: those that are read inside a trunk;
* `learned`: the module of a method that learns;
* `restores`: ways to restore the full grid; `controls`: those for control experiments.
"""
