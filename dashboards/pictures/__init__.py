"""Pictures of the boards' data, drawn from a Prometheus; `scripts/draw_boards.py` is the command. Not Grafana's own."""
