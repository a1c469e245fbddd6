"""The process around the HTTP proxy: its settings, its admin port, its signals, and its workers."""

__all__: list[str] = []
