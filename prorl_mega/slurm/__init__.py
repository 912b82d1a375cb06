"""Jobs under Slurm: what is submitted, what a job keeps of it, and the attempts in which it is run. No torch."""
