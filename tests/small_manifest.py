"""A manifest with one filter over an encoder so small that it opens in no time."""

SMALL = """
name = "small"
[backbones.base]
weights = "seed:1"
config = { hidden_size = 48, num_hidden_layers = 2, num_attention_heads = 2 }
[backbones.base.preprocessing]
num_frames = 4
size = 32
fit = "squash"
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
[heads.vfx]
backbone = "base"
labels = ["VFX_video", "normal_video"]
weights = "seed:2"
[[filters]]
name = "vfx"
switch = "vfx_enable"
head = "vfx"
outputs = [{ key = "vfx_filter", scope = "whole" }]
"""
