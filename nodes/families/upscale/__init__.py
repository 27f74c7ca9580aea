"""Networks that make pictures larger pixel by pixel."""
