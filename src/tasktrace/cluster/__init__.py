"""What a SLURM cluster has to have for the study's jobs, and what a killed Snakemake leaves on it."""
