"""The cropper of a run: training, evaluation and ablation."""
