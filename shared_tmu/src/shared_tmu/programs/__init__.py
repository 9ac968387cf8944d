"""What several programs (demo, evaluation, bench, export, training) share; imports none of them."""
