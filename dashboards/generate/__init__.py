"""Writes the boards and the rules: `python -m dashboards.generate`. One source for both, so that neither asks for a
metric that the other, or streamgauge, does not have."""
