"""Super-resolution: data, networks, training, evaluation. Imports nothing of the pipeline around it."""
