"""Jobs: their states, the durable queue, the effect journal, and the frames between a server and its workers."""
