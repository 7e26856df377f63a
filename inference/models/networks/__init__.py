"""The networks, as modules of torch: encoders, heads, position encoding, and the conversion of frames before them."""
