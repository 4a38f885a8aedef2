"""Commands beyond one machine: searches in jobs, joined and published databases."""
