"""The scenarios: each is a function with a docstring that says what it shows.

It gets a Mesh that stands, makes traffic and records it, and returns the Cases to judge. `@scenario` enters it in
SCENARIOS, with the options of the mesh it needs.
"""
from pod import Options

SCENARIOS: dict[str, tuple] = {}        # name: (function, options)


def scenario(**options):
    def enter(function):
        SCENARIOS[function.__name__.replace("_", "-")] = (function, Options(**options))
        return function
    return enter


from scenarios import legs, ports, taps, inputs, packets, meshes, rules, beside, incidents     # noqa: E402,F401  they enter themselves
