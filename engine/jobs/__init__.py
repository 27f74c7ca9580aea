"""Jobs: their states, the durable queue, the effect journal, and the frames that a server and its workers exchange."""
