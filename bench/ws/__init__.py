"""What WebSockets through the proxy cost. See `bench.ws.__main__`."""
