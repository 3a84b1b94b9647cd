"""What a trajectory's checkpoints are measured by: one module per measure."""
