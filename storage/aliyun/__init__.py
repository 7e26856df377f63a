"""Access keys of Alibaba Cloud: files, RAM roles, renewal."""
