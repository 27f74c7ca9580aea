"""LoRA and its relatives: files of small changes to the weights of a UNet and of text encoders."""
