"""What backends share: protocols, devices, finding and loading checkpoints."""
