"""Code that several programs (demo, evaluation, bench, export, training) share; it imports none of them."""
