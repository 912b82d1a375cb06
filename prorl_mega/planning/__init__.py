"""The consequences of a run's settings, before it is started: memory, samples, updates, stages. No torch."""
