"""Projection along lines, its adjoint, sensitivity and resolution."""
