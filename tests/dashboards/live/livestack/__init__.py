"""The stack as the live tests run it: real processes on loopback, and what asks them."""
