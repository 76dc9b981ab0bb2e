"""What every training shares: devices, processes, checkpoints."""
