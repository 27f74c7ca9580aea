"""Reading checkpoints: headers, configurations from shapes, names of weights, and modules put together from them."""
