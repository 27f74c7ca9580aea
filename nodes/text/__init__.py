"""Converts prompts to embeddings: prompt grammars, tokenizers, text encoders.

Input: prompt text. Output: weighted tokens, and the hidden states that a denoiser uses.
"""
