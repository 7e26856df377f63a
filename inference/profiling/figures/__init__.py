"""Figures of the steps, and the stage that limits them."""
