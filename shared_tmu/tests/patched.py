"""What patched models give."""

from __future__ import annotations

from shared_tmu import patch


def merged_output(model, tokens, schedule, **options):
    with patch(model, schedule, **options):
        return model(tokens)
