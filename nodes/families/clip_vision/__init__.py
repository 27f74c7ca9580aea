"""CLIP's picture encoder: recognition and loading."""
