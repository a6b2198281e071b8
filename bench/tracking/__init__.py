"""Sends runs to the tools in which people watch theirs: TensorBoard, MLflow, Weights & Biases."""
