"""IP-Adapter (Ye et al. 2023): pictures as prompts. Networks, and the recognition and loading of files."""
