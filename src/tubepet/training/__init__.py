"""Parts that all trainings share: devices, processes, checkpoints, files of trained networks."""
