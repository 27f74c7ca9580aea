"""LoRA and its relatives: files of small changes to the weights of a denoiser and of text encoders."""
