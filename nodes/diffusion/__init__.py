"""The tensor maths of diffusion sampling: schedules, samplers, noise, guidance, and what assembles a run.

In: a denoising network, conditions, a latent, noise levels. Out: the denoised latent. Samplers, schedules, prediction
and guidance are pure functions.
"""
