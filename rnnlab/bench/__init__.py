"""python -m rnnlab.bench: how fast the library is beside torch.nn, measured in one run."""
