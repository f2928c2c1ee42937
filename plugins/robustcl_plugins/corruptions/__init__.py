"""The common corruptions of Hendrycks and Dietterich (ICLR 2019), in batches; constants of their CIFAR version.

Each function takes images x (B, C, H, W) in [0, 1], a severity of 1 to 5 and a stream with one sub-stream per row, and
returns images of the same shape, not yet clamped. Radii and shifts are in pixels of 32 x 32 images and are not scaled
with larger ones, unless a function says so.
"""
