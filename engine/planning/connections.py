"""Which outputs fit which inputs."""

from latentloom.engine.types.spec import ANY, InputSpec, OutputSpec

CONVERTIBLE = {("INT", "FLOAT"), ("STRING", "CHOICE"), ("CHOICE", "STRING")}


def accepts(port: InputSpec | OutputSpec, output: OutputSpec, *, element: bool = False) -> bool:
    """Whether a port accepts the values of an output. `element`: as one item of its list."""
    return output.is_list == (port.is_list and not element) and fits(output.kind, port.kind)


def fits(output: str, port: str) -> bool:
    """Whether values of one kind can be used as the other."""
    return output == port or ANY in (output, port) or (output, port) in CONVERTIBLE
