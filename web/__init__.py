"""The server: an HTTP API over a durable queue of jobs, and the workers that run them."""
