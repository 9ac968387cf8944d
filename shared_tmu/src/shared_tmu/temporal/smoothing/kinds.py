"""The choices of `--smooth`."""

ONE_EURO, SAVGOL = "one-euro", "savgol"

AROUND = 6
"""Frames on each side of one that are fitted by Savitzky and Golay's method: see scripts/tune_filters.py."""

SMOOTHERS = {ONE_EURO: 0, SAVGOL: AROUND}
"""The choices, with the number of later frames that each needs."""

BOTH_WAYS = "one-euro-both"
"""For whole clips: one-euro from both ends, so that nothing lags."""

NO_SMOOTHING = "none"
