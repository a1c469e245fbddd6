"""Transports: the only I/O. Each hands the data on first, then the same data to the tap."""
