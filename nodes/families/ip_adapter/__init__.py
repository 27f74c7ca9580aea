"""IP-Adapter (Ye et al. 2023): pictures as prompts. Networks, files, and what they add to a UNet's attention."""
