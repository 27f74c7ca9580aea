"""From prompts to embeddings: prompt grammars, tokenizers, text encoders.

In: prompt text. Out: weighted tokens, and the hidden states that a denoiser reads.
"""
