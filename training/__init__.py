"""Trains an experiment: data, optimizer, callbacks, checkpoints, several devices and machines."""
