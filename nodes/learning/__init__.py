"""Training inside a workflow: data sets, adapters on layers, the loss, and a loop that can be taken up again.

In go handles of models and data sets; out come values such as LoRAs.
"""
