"""Filters that smooth a motion along its frames."""
