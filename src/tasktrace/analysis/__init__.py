"""Tables from trajectories. Nothing here imports torch."""
