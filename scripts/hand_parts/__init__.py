"""Parts of `build_other_hands.py`: reading other people's hands, fitting SynthHand, measuring the fit."""
