"""Grafana boards, Prometheus rules and the stack that shows them. Not part of the package that is installed."""
