"""Whether this computer can do the work: the packages, the device, one training step and one prediction."""
