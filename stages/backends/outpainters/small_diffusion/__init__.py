"""A small diffusion model in pixel space that was trained to carry photographs on beyond their frame."""
