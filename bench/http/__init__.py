"""What the HTTP transports cost, measured beside other proxies and other instrumentations. `make bench-http`."""
