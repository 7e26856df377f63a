"""Features of videos in a folder: a file for each video, their index, and the claims of the processes that write."""
