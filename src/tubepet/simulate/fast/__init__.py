"""The fast photon transport: the same physics, digitizer and file as GATE's, in numba."""
