"""The tensor maths of diffusion sampling: schedules, samplers, noise, guidance, and the assembly of a run.

Input: a denoising network, conditions, a latent and noise levels. Output: the denoised latent. Samplers, schedules,
prediction and guidance are pure functions.
"""
