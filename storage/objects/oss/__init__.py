"""Objects in Alibaba Cloud OSS."""
