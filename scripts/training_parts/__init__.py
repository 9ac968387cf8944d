"""The parts of `train_on.py`: what is decided, what is kept, what is run, and what is shipped."""
