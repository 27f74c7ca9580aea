"""How the embedded model `shapes` is made: pictures, captions, training, detector, score."""
