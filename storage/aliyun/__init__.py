"""Keys to Alibaba Cloud, from wherever they may come."""
