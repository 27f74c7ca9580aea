"""ControlNet and T2I-Adapter files: recognition and loading."""
