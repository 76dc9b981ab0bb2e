"""tubepet: from a tube in a config file to generated positron images.

Imported by the Snakefile process, so this file and `provenance` need only the standard library.
"""

__version__ = "0.1.0"
