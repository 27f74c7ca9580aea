"""CLIP's image encoder: recognition and loading."""
