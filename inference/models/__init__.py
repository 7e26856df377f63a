"""The models: finished parts, composed. Importing this package alone does not import torch."""
