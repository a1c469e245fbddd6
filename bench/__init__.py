"""What streamgauge costs, measured beside a floor and a peer in the same run. `make bench`."""
