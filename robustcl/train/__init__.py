"""Training: the plan of a stage, the step that DDP wraps, the loop around it, and what a run keeps."""
