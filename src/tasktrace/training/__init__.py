"""The loop: data order, steps, evaluation, checkpoints, exact resume and the trajectory."""
