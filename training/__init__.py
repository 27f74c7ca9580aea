"""Training of the embedded model `shapes`: pictures, captions, training, detector, score."""
