"""Runs node classes of ComfyUI's packs whose values are pictures, masks, latents, numbers and texts.

Input: a folder of packs. Output: a registration of node types for each pack, and the reason for each class that does
not run. A pack's code runs in a process of its own, which is started when a node needs it. That process imports
`child`, `loading`, `describing`, `values` and the stand-ins; this process imports none of a pack's code.
"""
