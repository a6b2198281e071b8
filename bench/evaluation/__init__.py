"""Evaluation of a trained energy: metrics, samples, denoising, features of images."""
