"""CAGrad's problem of two objectives in the plane: its losses, directions, descents and published numbers."""
